//go:build process && linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestProcesses runs the long scripts: nodes killed, stopped, cut off. As root they use network
// namespaces of their own.
func TestProcesses(t *testing.T) {
	cmds := scriptCommands()
	cmds["net"], cmds["cut"], cmds["heal"] = netScript, cutScript, healScript
	runScriptsWith(t, "testdata/process", cmds)
}

// netScript gives each named node a network namespace and an address on one bridge, which lives in
// a namespace too: $NAME_ip. 'up NAME' then runs in it.
func netScript(ts *testscript.TestScript, _ bool, names []string) {
	if os.Getuid() != 0 {
		ts.Fatalf("network namespaces need root: the script should have skipped")
	}
	id := fmt.Sprintf("sh%d%s", os.Getpid()%10000, ts.Name())
	hub := id + "hub"
	ip(ts, "netns add "+hub)
	ts.Defer(func() { _ = exec.Command("ip", "netns", "del", hub).Run() })
	ip(ts, "-n "+hub+" link add br0 type bridge mcast_snooping 0")
	ip(ts, "-n "+hub+" link set br0 up")
	for i, name := range names {
		ns, veth := hub+name, fmt.Sprintf("v%d", i)
		ip(ts, "netns add "+ns)
		ts.Defer(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
		ip(ts, fmt.Sprintf("-n %s link add eth0 type veth peer name %s netns %s", ns, veth, hub))
		ip(ts, fmt.Sprintf("-n %s link set %s master br0 up", hub, veth))
		addr := fmt.Sprintf("10.77.0.%d", i+1)
		ip(ts, fmt.Sprintf("-n %s addr add %s/24 dev eth0", ns, addr))
		ip(ts, "-n "+ns+" link set lo up")
		ip(ts, "-n "+ns+" link set eth0 up multicast on")
		ip(ts, "-n "+ns+" route add 224.0.0.0/4 dev eth0")
		ts.Setenv(name+"_ns", ns)
		ts.Setenv(name+"_ip", addr)
	}
}

func ip(ts *testscript.TestScript, args string) {
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		ts.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// cutScript drops what the first node sends to the second; the other direction stays.
func cutScript(ts *testscript.TestScript, _ bool, args []string) {
	ip(ts, "-n "+ts.Getenv(args[0]+"_ns")+" route add blackhole "+ts.Getenv(args[1]+"_ip")+"/32")
}

func healScript(ts *testscript.TestScript, _ bool, args []string) {
	ip(ts, "-n "+ts.Getenv(args[0]+"_ns")+" route del blackhole "+ts.Getenv(args[1]+"_ip")+"/32")
}
