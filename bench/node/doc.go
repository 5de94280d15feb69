// Package node measures what an idle node costs: `shoal up` as a process, alone and in a fabric of three.
package node
