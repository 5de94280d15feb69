package services

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/services/batch"
)

// run has an instance work until it is told to stop, or breaks and cannot be had anew.
func (w *worker) run() {
	h := w.h
	defer h.s.work.Done()
	defer func() {
		w.p.Close()
		h.mu.Lock()
		delete(h.workers, w)
		if len(h.workers) == 0 && len(h.queue) > 0 {
			h.decide(time.Now(), "")
		}
		h.mu.Unlock()
	}()
	for {
		list := w.take()
		if list == nil {
			return
		}
		if w.p.Broken() && !w.renew() { // while it was idle
			h.again(list)
			return
		}
		w.work(list)
		if w.p.Broken() && !w.renew() {
			return
		}
	}
}

// take waits for calls. nil: the worker is to stop.
func (w *worker) take() []*ticket {
	h := w.h
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		if w.stop || h.s.life.Err() != nil {
			return nil
		}
		if list := h.next(w.size.Now()); len(list) > 0 {
			return list
		}
		h.idle = append(h.idle, w)
		h.mu.Unlock()
		select {
		case <-w.wake:
		case <-h.s.life.Done():
		}
		h.mu.Lock()
	}
}

// again puts calls back that have not begun.
func (h *host) again(list []*ticket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue = append(list, h.queue...)
	for _, t := range list {
		h.queued += len(t.call.Payload)
	}
}

// next takes up to n calls out of the queue, as many as fit into one batch. The lock is held.
func (h *host) next(n int) (list []*ticket) {
	bytes := 4
	for len(h.queue) > 0 && len(list) < n {
		t := h.queue[0]
		if bytes += batch.Room(t.call.Payload); len(list) > 0 && bytes > MaxPayload {
			break
		}
		h.queue[0] = nil
		h.queue = h.queue[1:]
		h.queued -= len(t.call.Payload)
		list = append(list, t)
	}
	return list
}

// work has the instance process calls, and tells their callers.
func (w *worker) work(list []*ticket) {
	began := time.Now()
	answers, err := w.try(list)
	took := time.Since(began)
	w.did(list, began, took, err)
	if err != nil && len(list) > 1 && w.h.s.life.Err() == nil { // whose fault it was shows when each is alone
		for _, t := range list {
			if w.p.Broken() && !w.renew() {
				t.done <- done{err: err}
				continue
			}
			w.work([]*ticket{t})
		}
		return
	}
	for i, t := range list {
		switch {
		case err != nil:
			t.done <- done{err: shoal.Wrap(shoal.Failed, "call "+w.h.spec.Name, err)}
		case answers[i].Failed:
			t.done <- done{err: shoal.E(shoal.Failed, "call "+w.h.spec.Name, answers[i].Why, "")}
		case len(answers[i].Reply) > MaxPayload:
			t.done <- done{err: shoal.E(shoal.Failed, "call "+w.h.spec.Name, "its reply is over 1 MiB", "put it as data and reply with its CID")}
		default:
			t.done <- done{reply: answers[i].Reply}
		}
	}
}

// try runs calls together. It is broken off when nobody waits for any of them any more.
func (w *worker) try(list []*ticket) ([]batch.Answer, error) {
	calls := make([]Call, len(list))
	for i, t := range list {
		calls[i] = t.call
	}
	if len(list) == 1 {
		if err := list[0].ctx.Err(); err != nil { // it waited too long: nothing has run
			return nil, err
		}
		ctx, cancel := context.WithCancel(list[0].ctx)
		defer cancel()
		defer context.AfterFunc(w.h.s.life, cancel)()
		return w.p.Run(ctx, calls)
	}
	ctx, cancel := context.WithCancel(w.h.s.life)
	defer cancel()
	var left atomic.Int32
	left.Store(int32(len(list)))
	for _, t := range list {
		stop := context.AfterFunc(t.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})
		defer stop()
	}
	return w.p.Run(ctx, calls)
}

// renew replaces an instance that broke.
func (w *worker) renew() bool {
	w.p.Close()
	fresh, err := w.h.make(w.kind)
	if err != nil {
		w.h.mu.Lock()
		defer w.h.mu.Unlock()
		delete(w.h.workers, w)
		w.h.openFailed(err)
		return false
	}
	w.p = fresh.p
	return true
}

// clip is how many times the average a call counts at most: of one that the machine kept waiting nothing follows for the next.
const clip = 3

// did notes what came of calls.
func (w *worker) did(list []*ticket, began time.Time, took time.Duration, err error) {
	h, kind := w.h, w.kind
	h.mu.Lock()
	defer h.mu.Unlock()
	w.size.Done(len(list), took)
	if err == nil {
		each := took.Seconds() / float64(len(list))
		if was := h.each[kind]; was > 0 {
			each = was + (min(each, clip*was)-was)/8
		}
		h.each[kind] = max(each, 1e-9)
	} else if len(list) > 1 {
		return // each is counted when it is alone
	}
	h.seen.did(kind, list, began, took, err)
}

var errRemoved = errors.New("removed")
