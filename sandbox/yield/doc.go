// Package yield lets goroutines that would keep every processor busy give way to the network.
//
// Go's scheduler looks at the network when a processor has nothing else to do, and every 10 ms otherwise. A
// goroutine that calls runtime.Gosched is something else to do: while there is one for each processor, a
// message waits 10 ms at each step of its way. One that waits for the network itself is not, and its processor
// looks there at once.
package yield
