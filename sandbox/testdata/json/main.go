// Command json makes a document, parses and prints it: maps in random order, the collector, goroutines
// and the clock, all of which must cost the same each time.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	var doc strings.Builder
	doc.WriteString("[0")
	for i := range 5000 {
		fmt.Fprintf(&doc, `,{"id": %d, "name": "fish %d", "tags": ["a", "b"], "depth": %d.25, "in": {"sea": true, "net": null}}`, i, i, i)
	}
	doc.WriteString("]")
	parsed := make(chan int)
	go func() {
		var v []any
		if err := json.Unmarshal([]byte(doc.String()), &v); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		again, err := json.Marshal(v)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		parsed <- len(again)
	}()
	n := <-parsed
	counts := map[string]int{}
	for i := range 1000 {
		counts[fmt.Sprint(i%17)]++
	}
	first := ""
	for k := range counts { // whichever comes first
		first = k
		break
	}
	time.Sleep(2 * time.Millisecond)
	fmt.Println(n, first, time.Now().UnixNano())
}
