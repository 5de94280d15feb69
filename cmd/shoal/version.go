package main

import (
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/node"
)

func versionCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  exactly(0),
		RunE: func(*cobra.Command, []string) error {
			out := map[string]string{"version": node.Version}
			if info, ok := debug.ReadBuildInfo(); ok {
				out["go"] = info.GoVersion
				for _, kv := range info.Settings {
					if kv.Key == "vcs.revision" {
						out["revision"] = kv.Value
					}
				}
			}
			return s.show(out, func() { s.printf("shoal %s (%s)\n", out["version"], out["go"]) })
		},
	}
}
