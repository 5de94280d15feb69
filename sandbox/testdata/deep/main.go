// Command deep calls itself as deeply as its argument says, in the ways that Go has: directly, by an interface and by
// a closure; and prints what it counted.
package main

import (
	"fmt"
	"os"
	"strconv"
)

type node struct{ left, right tree }

type tree interface{ depth(indent string) int }

func (n *node) depth(indent string) int {
	if n.left == nil {
		return len(indent)
	}
	return n.left.depth(indent) + 1
}

func count(n int, words ...string) (int, error) {
	if n == 0 {
		return 0, nil
	}
	below, err := count(n-1, words...)
	if err != nil {
		return 0, fmt.Errorf("at %d: %w", n, err)
	}
	return below + len(words), nil
}

func main() {
	n, _ := strconv.Atoi(os.Args[1])
	var t tree = &node{}
	for range n {
		t = &node{left: t}
	}
	counted, _ := count(n, "one")
	var walk func(int) int
	walk = func(i int) int {
		if i == 0 {
			return 0
		}
		return walk(i-1) + 1
	}
	fmt.Println(t.depth(""), counted, walk(n))
}
