// Command echo is echo.c by the Go SDK, an agent; agent-read builds it.
package main

import "github.com/shoal-fabric/shoal/sdk/go/agent"

func main() {}

//go:wasmexport echo
func echo() int32 { return agent.Run(func(t *agent.Turn) ([]byte, error) { return t.Payload(), nil }) }

//go:wasmexport none
func none() int32 { return agent.Run(func(*agent.Turn) ([]byte, error) { return nil, nil }) }
