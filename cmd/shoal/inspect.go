package main

import (
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/examples"
	"github.com/shoal-fabric/shoal/sandbox"
)

func inspectCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect [MODULE]",
		Short: "Say what a WebAssembly module is; without one, list the examples",
		Long: `Inspect names a module's kind, exports, imports, size and memory, an agent's methods, and what would keep it from running.
A file or example needs no node; a CID is looked up in the fabric.`,
		Example: "  shoal inspect my.wasm\n  shoal inspect example:wordcount\n  shoal inspect",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return s.exampleList()
			}
			info, err := s.inspect(cmd, args[0])
			if err != nil {
				return err
			}
			return s.show(info, func() {
				s.printf("cid      %s\nkind     %s\nsize     %s\nmemory   %s, at most %s\nimports  %s\nexports  %s\n", info.CID, info.Kind,
					size(uint64(info.Bytes)), size(info.Memory), size(info.MaxMem),
					strings.Join(info.Imports, " "), strings.Join(info.Exports, " "))
				if len(info.Methods) > 0 {
					s.printf("methods  %s\n", strings.Join(info.Methods, " "))
				}
			})
		},
	}
}

func (s *shell) inspect(cmd *cobra.Command, name string) (api.ModuleResult, error) {
	var res api.ModuleResult
	var b []byte
	var err error
	if ex, ok := strings.CutPrefix(name, "example:"); ok {
		if b, ok = examples.Module(ex); !ok {
			return res, shoal.E(shoal.NotFound, name, "no such example", "there are: "+strings.Join(examples.Names(), ", "))
		}
	} else if _, bad := shoal.ParseCID(name); bad == nil {
		err = s.client().Call(cmd.Context(), http.MethodGet, "modules/"+name, nil, &res)
		return res, err
	} else if b, err = readModule(name); err != nil {
		return res, err
	}
	res.ModuleInfo, err = sandbox.Inspect(b)
	if err != nil {
		return res, shoal.Wrap(shoal.Invalid, "module '"+name+"'", err)
	}
	res.CID = shoal.BlockCID(b).String()
	return res, nil
}

func (s *shell) exampleList() error {
	all := examples.All()
	if s.json {
		return s.lines(len(all), func(i int) any {
			return map[string]any{"name": "example:" + all[i].Name, "about": all[i].About, "bytes": len(all[i].Module)}
		})
	}
	rows := make([][]string, len(all))
	for i, e := range all {
		rows[i] = []string{"example:" + e.Name, size(uint64(len(e.Module))), e.About}
	}
	s.table("MODULE SIZE ABOUT", rows)
	return nil
}
