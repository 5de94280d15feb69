package node

import (
	"bytes"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// TestUseBringsACopy: a node whose tasks use again and again what another keeps buys a copy, which others find and which is
// none of the replicas.
func TestUseBringsACopy(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 3, nil)
	root, _, at := putOnOne(t, ns, 24<<20)
	var user, other *Node
	for _, n := range ns {
		switch {
		case n == at:
		case user == nil:
			user = n
		default:
			other = n
		}
	}
	hello, err := user.Module(t.Context(), "example:hello")
	if err != nil {
		t.Fatal(err)
	}
	spec := RunSpec{Name: "example:hello", Module: hello, Inputs: []shoal.Input{{CID: root}}, On: user.ID()}
	runs := 0
	eventually(t, 90*time.Second, "a copy is bought", func() bool {
		var out bytes.Buffer
		spec.Stdout = &out
		if _, _, _, err := user.RunTask(t.Context(), spec); err != nil {
			t.Error(err)
			return true
		}
		runs++
		return user.Status().Extra == 1
	})
	t.Logf("after %d runs: %+v", runs, user.Datasets())
	if runs < 3 {
		t.Errorf("it took %d runs only", runs)
	}
	eventually(t, 30*time.Second, "others find it", func() bool {
		holders, m, err := other.Where(t.Context(), root)
		if err != nil || m.Replicas != 1 {
			return false
		}
		for _, h := range holders {
			if h.Peer == user.ID() && len(h.Extra) == 1 {
				return true
			}
		}
		return false
	})
	if st := at.Status(); st.Extra != 0 || st.Unrestored != 0 {
		t.Errorf("at the holder: %+v", st)
	}
}
