module github.com/shoal-fabric/shoal/sdk/go

go 1.24
