//go:build wasip1

// Linecount is an example of a program in Go for the fabric: it counts the lines of every file under
// /data, prints the total, and writes one line per file to /out/lines.tsv.
//
//	GOOS=wasip1 GOARCH=wasm go build -o linecount.wasm ./examples/linecount
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	out, err := os.Create("/out/lines.tsv")
	if err != nil {
		log.Fatal(err)
	}
	total := 0
	err = filepath.WalkDir("/data", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n, err := count(path)
		if err != nil {
			return err
		}
		total += n
		_, err = fmt.Fprintf(out, "%s\t%d\n", path, n)
		return err
	})
	if err == nil {
		err = out.Close()
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("lines", total)
}

func count(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<16)
	for n := 0; ; {
		_, err := in.ReadSlice('\n')
		switch {
		case err == nil:
			n++
		case errors.Is(err, io.EOF):
			return n, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return n, err
		}
	}
}
