package main

import (
	"net/http"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/api"
)

func getCmd(s *shell) *cobra.Command {
	var req api.GetRequest
	cmd := &cobra.Command{
		Use:   "get CID[/PATH]",
		Short: "Write a dataset, or one path in it, to this machine",
		Long: `Get fetches what is missing from the peers that hold it, from several at once, verifies each block,
and writes files. An interrupted get goes on where it stopped. The node keeps a copy and announces
it. With --no-keep the bytes go straight into the files instead: faster and without a second copy, but an
interrupted get starts anew.`,
		Example: `  shoal get CID -o texts
  shoal get CID/notes/today.txt
  shoal get CID --from /ip4/192.0.2.7/tcp/4001/p2p/12D3Koo...   # from any bitswap server`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, sub, _ := strings.Cut(strings.TrimPrefix(args[0], "/ipfs/"), "/")
			if _, err := shoal.ParseCID(c); err != nil {
				return err
			}
			req.CID, req.Sub = c, path.Clean(sub)
			if sub == "" {
				req.Sub = ""
			}
			out := req.Out
			if out == "" {
				out = c
				if sub != "" {
					out = path.Base(req.Sub)
				}
			}
			var err error
			if req.Out, err = filepath.Abs(out); err != nil {
				return err
			}
			var res api.GetResult
			m := s.meter()
			err = s.client().Stream(cmd.Context(), http.MethodPost, "get", req, &res, m.on)
			m.clear()
			if err != nil {
				return err
			}
			return s.show(res, func() {
				s.printf("%s\n", out)
				s.note("%s, of which %s came from other peers, in %.1f s", size(res.Bytes), size(res.Moved), res.Seconds)
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&req.Out, "output", "o", "", "where to write (default: the CID, or the path's last part, here)")
	f.BoolVar(&req.NoKeep, "no-keep", false, "keep no copy on the node; write the files only")
	f.StringVar(&req.From, "from", "", "multiaddr of a bitswap server that has it (a stranger will do)")
	return cmd
}
