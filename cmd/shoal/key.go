package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/api"
)

func keyCmd(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Take the fabric's root key to another node, or to a safe",
		Long: `The node that founded a fabric has its root key, from which every member's rights descend. Were that
node lost for good, nobody could act as the root again: export the key, and keep it offline or import
it on another member.`,
		Example: "  shoal key export root.key\n  shoal key import root.key",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(keyExportCmd(s), keyImportCmd(s))
	return cmd
}

func keyExportCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "export FILE",
		Short: "Write the root key to a new file, which only you can read",
		Long:  "The file is not encrypted: whoever reads it can admit and forget members for ever.",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var res api.RootKey
			if err := s.client().Call(cmd.Context(), http.MethodPost, "key/export", nil, &res); err != nil {
				return err
			}
			if err := writeKey(args[0], res.Key); err != nil {
				return err
			}
			return s.show(map[string]string{"fabric": res.Fabric, "file": args[0]}, func() {
				s.printf("wrote the root key of fabric %s to %s\n", res.Fabric, args[0])
				s.note("warning: it is not encrypted; whoever reads it can do everything in the fabric, for ever")
			})
		},
	}
}

// writeKey writes a secret to a file that was not there before.
func writeKey(path, text string) error {
	what := "write " + path
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, os.ErrExist):
		return shoal.E(shoal.Exists, what, "there is a file already", "name a new one")
	case err != nil:
		return fileError(what, err)
	}
	_, err = fmt.Fprintln(f, text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(path)
		return fileError(what, err)
	}
	return nil
}

// fileError puts the fault of a file into the form of errors.
func fileError(what string, err error) error {
	kind := shoal.Internal
	if errors.Is(err, os.ErrNotExist) {
		kind = shoal.NotFound
	}
	var p *os.PathError
	why := err.Error()
	if errors.As(err, &p) {
		why = p.Err.Error()
	}
	return &shoal.Error{Kind: kind, What: what, Why: why, Try: "check the path", Err: err}
}

func keyImportCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "Keep the root key, as exported, on this node too",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return fileError("read "+args[0], err)
			}
			defer f.Close()
			b, err := io.ReadAll(io.LimitReader(f, 4<<10))
			if err != nil {
				return fileError("read "+args[0], err)
			}
			var res api.RootKey
			if err := s.client().Call(cmd.Context(), http.MethodPost, "key/import", api.RootKey{Key: string(b)}, &res); err != nil {
				return err
			}
			if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
				s.note("warning: others may read %s: chmod 600 it, or remove it", args[0])
			}
			return s.show(res, func() { s.printf("this node has the root key of fabric %s\n", res.Fabric) })
		},
	}
}
