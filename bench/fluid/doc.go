// Package fluid is the benchmark of moving code to data, data to code, or neither: the same jobs on five nodes whose links
// are shaped, under two fixed rules and under the cost model.
package fluid
