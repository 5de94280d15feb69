package plans

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// What is on disk of a detached job: what to run with its tasks ("job/ID"), and batches of finished
// tasks ("done/ID/N"). Of any job that ended: its result ("result/ID").
const (
	jobKey    = "job/"
	doneKey   = "done/"
	resultKey = "result/"
)

// maxResults bounds the results kept.
const maxResults = 500

// savedJob is Job on disk.
type savedJob struct {
	ID         shoal.TaskID   `cbor:"id"`
	Module     cid.Cid        `cbor:"module"`
	Args       []string       `cbor:"args,omitempty"`
	Data       []shoal.Input  `cbor:"data,omitempty"`
	Each       bool           `cbor:"each,omitempty"`
	Reduce     *cid.Cid       `cbor:"reduce,omitempty"`
	ReduceArgs []string       `cbor:"reduce_args,omitempty"`
	Needs      string         `cbor:"needs,omitempty"`
	Limits     shoal.Limits   `cbor:"limits"`
	On         shoal.PeerID   `cbor:"on,omitempty"`
	From       []shoal.PeerID `cbor:"from,omitempty"`
	Created    int64          `cbor:"created"` // Unix milliseconds
	Parts      []part         `cbor:"parts,omitempty"`
}

// part is the input of one task.
type part struct {
	Name    string         `cbor:"name"`
	CID     cid.Cid        `cbor:"cid"`
	Bytes   uint64         `cbor:"bytes"`
	Set     int            `cbor:"set"`   // index into Job.Data
	Index   int            `cbor:"index"` // of the partition in that dataset
	Holders []shoal.PeerID `cbor:"holders,omitempty"`
}

// finished is a task that need not run again.
type finished struct {
	Index   int           `cbor:"i"`
	Outcome shoal.Outcome `cbor:"o"`
}

func (s savedJob) job() Job {
	return Job{
		ID: s.ID, Module: s.Module, Args: s.Args, Data: s.Data, Each: s.Each, Reduce: s.Reduce, ReduceArgs: s.ReduceArgs,
		Needs: s.Needs, Limits: s.Limits, On: s.On, From: s.From, Detach: true,
	}
}

func saved(j Job, parts []part, created int64) savedJob {
	return savedJob{
		ID: j.ID, Module: j.Module, Args: j.Args, Data: j.Data, Each: j.Each, Reduce: j.Reduce, ReduceArgs: j.ReduceArgs,
		Needs: j.Needs, Limits: j.Limits, On: j.On, From: j.From, Created: created, Parts: parts,
	}
}

// loadJobs reads the jobs that had not ended, and what they had finished.
func loadJobs(kv shoal.KV) (jobs []savedJob, done map[shoal.TaskID][]finished, bad []string) {
	done = map[shoal.TaskID][]finished{}
	for k, v := range kv.Scan(jobKey) {
		var s savedJob
		if err := wire.Unmarshal("saved job", v, &s); err != nil || jobKey+string(s.ID) != k || !s.Module.Defined() {
			bad = append(bad, k)
			continue
		}
		jobs = append(jobs, s)
	}
	for k, v := range kv.Scan(doneKey) {
		id, _, _ := strings.Cut(strings.TrimPrefix(k, doneKey), "/")
		var batch []finished
		if err := wire.Unmarshal("finished tasks", v, &batch); err != nil {
			bad = append(bad, k)
			continue
		}
		done[shoal.TaskID(id)] = append(done[shoal.TaskID(id)], batch...)
	}
	return jobs, done, bad
}

func saveDone(kv shoal.KV, id shoal.TaskID, batch int, fs []finished) error {
	return kv.Set(fmt.Sprintf("%s%s/%08d", doneKey, id, batch), wire.Marshal(fs))
}

// forgetJob drops what was kept to resume a job.
func forgetJob(kv shoal.KV, id shoal.TaskID) error {
	if err := kv.Delete(jobKey + string(id)); err != nil {
		return err
	}
	var keys []string
	for k := range kv.Scan(doneKey + string(id) + "/") {
		keys = append(keys, k)
	}
	for _, k := range keys {
		if err := kv.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// savedResult is Result on disk.
type savedResult struct {
	Ended  int64  `cbor:"ended"` // Unix milliseconds
	Result Result `cbor:"result"`
}

// trimResults drops the oldest of too many results.
func trimResults(kv shoal.KV) error {
	type aged struct {
		key   string
		ended int64
	}
	var all []aged
	for k, v := range kv.Scan(resultKey) {
		var s savedResult
		if wire.Unmarshal("saved result", v, &s) != nil {
			s.Ended = 0
		}
		all = append(all, aged{k, s.Ended})
	}
	slices.SortFunc(all, func(a, b aged) int { return int(max(-1, min(1, a.ended-b.ended))) })
	for len(all) > maxResults {
		if err := kv.Delete(all[0].key); err != nil {
			return err
		}
		all = all[1:]
	}
	return nil
}
