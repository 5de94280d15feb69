module github.com/shoal-fabric/shoal/examples/agents

go 1.24

require github.com/shoal-fabric/shoal/sdk/go v0.0.0

replace github.com/shoal-fabric/shoal/sdk/go => ../../sdk/go
