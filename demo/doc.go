// Package demo is a fabric of five complete nodes in one process, over real sockets, each with its
// own directory and identity. It counts the words of a folder three times: with the program sent to
// the data, with the data shipped to one node, and with a node killed half-way. Every figure in its
// report is measured; bytes come from the connections' counters.
package demo
