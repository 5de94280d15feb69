package main

import (
	"net/http"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/api"
)

func putCmd(s *shell) *cobra.Command {
	var req api.PutRequest
	var split string
	var part int64
	cmd := &cobra.Command{
		Use:   "put PATH",
		Short: "Keep a file or folder in the fabric, spread over its machines",
		Long: `Put reads a file or folder, cuts it into partitions and spreads their copies over the members of the
fabric. It prints the dataset's CID, and where the copies lie. Putting the same content again gives
the same CID and moves nothing but what new terms take (--replicas, --public, --name; what is not said
stays as it was); a put that was interrupted goes on where it stopped.

With --public this node keeps all of it, so that strangers can fetch it from one address: 'shoal get CID
--from ADDRESS', or any bitswap client.

With --needs copies go only to members that fulfil the expression, now and when a lost copy is made again. It
is checked at once; if no member fulfils it nothing is put. This node keeps what found no other place.

With --in-place this node copies nothing: it notes where in the files the pieces lie, and reads them from
there. Leave the files as they are: one that changes is noticed and no longer read, only named ('shoal
doctor' lists such files), until you put it again. Copies on other machines are made as always. Neither
unpin nor gc touches your files.`,
		Example: `  shoal put ~/texts
  shoal put big.log --split lines --replicas 3
  shoal put /data/genomes --in-place     # 100 GB that need not exist twice on this machine
  shoal put site/ --public               # serve it to strangers too, over bitswap
  shoal put scans/ --needs 'labels.zone == "clinic"'`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "-" {
				return usage(cmd, "put reads a file or folder of this machine, not standard input")
			}
			path, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			switch req.Split = shoal.Split(split); req.Split {
			case shoal.SplitAuto, shoal.SplitFiles, shoal.SplitLines, shoal.SplitBytes:
			default:
				return usage(cmd, "--split is files, lines or bytes, not '"+split+"'")
			}
			if req.Replicas < 0 {
				return usage(cmd, "--replicas is at least 1")
			}
			if part < 0 {
				return usage(cmd, "--partition-kib is at least 1")
			}
			req.Path, req.PartitionBytes = path, part<<10
			var res api.PutResult
			m := s.meter()
			err = s.client().Stream(cmd.Context(), http.MethodPost, "put", req, &res, m.on)
			m.clear()
			if err != nil {
				return err
			}
			return s.show(res, func() {
				s.printf("%s\n", res.CID)
				for _, w := range res.Warnings {
					s.note("warning: %s", w)
				}
				if req.InPlace {
					s.note("in place: leave %s as it is, or put it again when it has changed", path)
				}
				s.note("%s in %d partitions, %d copies of each:", size(res.Bytes), res.Partitions, res.Replicas)
				for _, h := range res.Holders {
					s.note("  %s  %9s  partitions %s", h.Peer.Short(), size(h.Bytes), ranges(h.Partitions))
				}
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&req.Replicas, "replicas", 0, "copies of each partition (default: 2, or 1 on a fabric of one)")
	f.StringVar(&split, "split", "", "what a partition may not cut: files, lines or bytes\n(default: files in a folder, lines in text, else bytes)")
	f.BoolVar(&req.Public, "public", false, "serve it to anybody over bitswap, not to members only")
	f.BoolVar(&req.InPlace, "in-place", false, "read it where it lies; this node keeps no copy of its own")
	f.StringVar(&req.Name, "name", "", "name under /data in programs (default: the path's last part)")
	f.StringVar(&req.Needs, "needs", "", "what a member must fulfil to be given copies, as in 'shoal run --needs'")
	f.Int64Var(&part, "partition-kib", 0, "partition size in KiB (default: a 64th of the whole, 64 KiB to 64 MiB)")
	_ = cmd.RegisterFlagCompletionFunc("split", cobra.FixedCompletions([]string{"files", "lines", "bytes"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
