// Package sim measures the simulator: events a second and bytes a node of the model, bytes of a node in a world.
package sim
