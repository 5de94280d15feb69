package main

import (
	"embed"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sdk"
)

//go:embed templates
var templates embed.FS

func newCmd(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "new",
		Short:   "Begin a program of your own: a folder that builds and passes its test",
		Example: "  shoal new agent mine\n  shoal new agent mine --lang c",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAgentCmd(s))
	return cmd
}

func newAgentCmd(s *shell) *cobra.Command {
	lang := ""
	cmd := &cobra.Command{
		Use:   "agent NAME",
		Short: "Write a folder with an agent that counts, its test, and all it takes to build them",
		Long: `The folder NAME holds a small agent, a unit test that runs without a fabric, a Makefile, and the SDK. It
needs Go 1.24, or for C clang with wasi-libc; nothing is fetched. docs/first-agent.md goes on from there.`,
		Example: "  shoal new agent mine\n  shoal new agent mine --lang c",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if lang != "go" && lang != "c" {
				return usage(cmd, "--lang is go or c")
			}
			files, err := agentFiles(args[0], lang)
			if err == nil {
				err = writeFolder(args[0], files)
			}
			if err != nil {
				return err
			}
			names := slices.Sorted(maps.Keys(files))
			return s.show(map[string]any{"folder": args[0], "files": names}, func() {
				s.printf("wrote %s\n", args[0])
				s.note("next: cd %s && make test && make && shoal inspect %s.wasm", args[0], filepath.Base(args[0]))
			})
		},
	}
	cmd.Flags().StringVar(&lang, "lang", "go", "the language: go or c")
	_ = cmd.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions([]string{"go", "c"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// agentFiles is what a new folder holds, by path within it.
func agentFiles(path, lang string) (map[string][]byte, error) {
	what := "new agent '" + path + "'"
	name := filepath.Base(path)
	if ok, _ := regexp.MatchString(`^[a-z][a-z0-9-]{0,39}$`, name); !ok { // for a Go module, a file and an agent
		return nil, shoal.E(shoal.Invalid, what, "a name has lower-case letters, digits and '-', a letter first, 40 at most",
			"call it counter, or my-cart")
	}
	files := map[string][]byte{}
	add := func(from fs.FS, into string) error {
		return fs.WalkDir(from, ".", func(p string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := fs.ReadFile(from, p)
			if own, ok := strings.CutSuffix(p, ".tmpl"); ok {
				p, b = own, []byte(strings.ReplaceAll(string(b), "NAME", name))
			}
			files[filepath.Join(into, filepath.FromSlash(p))] = b
			return err
		})
	}
	part, into, kit := "templates/"+lang, "", sdk.C
	if lang == "go" {
		into, kit = "shoal", sdk.Go
	}
	from, err := fs.Sub(templates, part)
	if err == nil {
		err = add(from, "")
	}
	var tools fs.FS
	if err == nil {
		tools, err = kit()
	}
	if err == nil {
		err = add(tools, into)
	}
	files[".gitignore"] = []byte(name + ".wasm\ntest.out\n")
	return files, shoal.Wrap(shoal.Internal, what, err)
}

// writeFolder makes a folder that is not there yet.
func writeFolder(path string, files map[string][]byte) error {
	what := "new folder " + path
	if err := os.Mkdir(path, 0o755); errors.Is(err, fs.ErrExist) {
		return shoal.E(shoal.Exists, what, "there is one already", "choose another name")
	} else if err != nil {
		return shoal.Wrap(shoal.Invalid, what, err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		at := filepath.Join(path, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		if err == nil {
			err = os.WriteFile(at, files[name], 0o644)
		}
		if err != nil {
			return shoal.Wrap(shoal.Full, what, err)
		}
	}
	return nil
}
