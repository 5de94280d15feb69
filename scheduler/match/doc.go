// Package match says whether a member may run a task, and if not, why not and whether a later try
// may help. It is pure: time is an argument.
package match
