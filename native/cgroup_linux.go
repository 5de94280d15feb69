package native

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cgroups is where version 2 is mounted.
const cgroups = "/sys/fs/cgroup"

// group is a cgroup for one command; nil: there is none.
type group struct{ dir string }

// enclose makes a cgroup with the limits of c, where this process may, and says how the limits will be held.
func enclose(c *caps) (*group, string) {
	if c.Memory == 0 && c.Processes == 0 {
		return nil, ""
	}
	self, _ := os.ReadFile("/proc/self/cgroup")
	if g := newGroup(cgroups, string(self), fmt.Sprint("shoal-", os.Getpid()), *c); g != nil {
		c.Cgroup = g.dir
		return g, "cgroup v2"
	}
	return nil, rlimited(*c)
}

// newGroup makes a cgroup called name below this process's own; if that is called "node", as a systemd
// service with DelegateSubgroup=node has it, beside it. self is /proc/self/cgroup. Without the right to do so,
// or without the controllers, there is none.
func newGroup(root, self, name string, c caps) *group {
	own := ""
	for line := range strings.Lines(self) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			own = p
		}
	}
	if own == "" {
		return nil
	}
	above := filepath.Join(root, own)
	if filepath.Base(own) == "node" {
		above = filepath.Dir(above)
	}
	_ = os.WriteFile(filepath.Join(above, "cgroup.subtree_control"), []byte("+memory +pids"), 0) // it may be so already
	g := &group{filepath.Join(above, name)}
	if os.Mkdir(g.dir, 0o755) != nil {
		return nil
	}
	if g.limit(c) != nil {
		g.remove()
		return nil
	}
	return g
}

// limit writes the limits. An error means that a controller is not there.
func (g *group) limit(c caps) error {
	settings := map[string]string{}
	if c.Memory > 0 {
		settings["memory.max"], settings["memory.oom.group"] = strconv.FormatUint(c.Memory, 10), "1"
	}
	if c.Processes > 0 {
		settings["pids.max"] = strconv.Itoa(c.Processes)
	}
	for file, value := range settings {
		if err := g.set(file, value); err != nil {
			return err
		}
	}
	if c.Memory > 0 {
		_ = g.set("memory.swap.max", "0") // not there without swap
	}
	return nil
}

// set writes a setting, which must be there.
func (g *group) set(file, value string) error {
	f, err := os.OpenFile(filepath.Join(g.dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}

// enter has this process be in a cgroup.
func enter(dir string) error {
	if dir == "" {
		return nil
	}
	return (&group{dir}).set("cgroup.procs", strconv.Itoa(os.Getpid()))
}

// kill kills all in it.
func (g *group) kill() {
	if g != nil {
		_ = g.set("cgroup.kill", "1") // kernels before 5.14 have it not: the process group and the orphans remain
	}
}

// starved reports whether the system killed somebody in it for the memory used.
func (g *group) starved() bool {
	if g == nil {
		return false
	}
	b, _ := os.ReadFile(filepath.Join(g.dir, "memory.events"))
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			return n != "0"
		}
	}
	return false
}

// remove takes it away once all in it are gone.
func (g *group) remove() {
	if g == nil {
		return
	}
	for range 20 {
		if os.Remove(g.dir) == nil {
			return
		}
		time.Sleep(5 * time.Millisecond) // the last one is on its way out
	}
}
