package main

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
)

func statusCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Describe the local node",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var st node.Status
			if err := s.client().Call(cmd.Context(), http.MethodGet, "status", nil, &st); err != nil {
				return err
			}
			return s.show(st, func() {
				s.printf("peer      %s\nfabric    %s\nmembers   %d (%d connected)\n", st.PeerID, st.Fabric, st.Members, st.Connected)
				for i, a := range st.Addresses {
					label := "address"
					if i > 0 {
						label = ""
					}
					s.printf("%-9s %s\n", label, a)
				}
				s.printf("tasks     %d running, %d queued, %d slots\n", st.Load.Running, st.Load.Queued, st.Load.Slots)
				s.printf("storage   %s held, %s free\n", size(st.Load.HeldBytes), size(st.Load.DiskFree))
				s.printf("copies    %s\n", copies(st))
				s.machine(st.Attributes, st.Load)
				s.printf("up        %s, version %s, in %s\n", ago(st.UptimeS), st.Version, st.Dir)
				if len(st.Attributes.Executors) > 0 {
					s.printf("executors %s\n", strings.Join(st.Attributes.Executors, ", "))
				}
				for _, d := range st.Devices {
					s.printf("device    %s\n", deviceState(d))
				}
				for _, p := range st.Pending {
					s.printf("asks to join: %s ('shoal invite approve CODE' admits it, with the code it shows)\n", p)
				}
			})
		},
	}
}

// copies tells how the data is doing that this node has a part in: "of 3 datasets, all there; 2 made anew".
func copies(st node.Status) string {
	if st.Datasets == 0 {
		return "no dataset is kept here"
	}
	out := "of " + counted(st.Datasets, "dataset")
	switch {
	case st.Lost > 0:
		out += fmt.Sprintf(", %d missing, %s without any; they come back with the machines that have them", st.Unrestored, counted(st.Lost, "partition"))
	case st.Unrestored > 0:
		out += fmt.Sprintf(", %d missing; made anew within %s once a member with room fits", st.Unrestored, ago(st.RestoreS))
	default:
		out += ", all there"
	}
	if st.Restored > 0 {
		out += fmt.Sprintf("; %d made anew by this node", st.Restored)
	}
	if st.Extra > 0 {
		out += fmt.Sprintf("; %d beyond the replicas, %s ('shoal ls' tells why)", st.Extra, size(st.ExtraBytes))
	}
	return out
}

// deviceState tells who has a device: "nvidia:0, 16 GiB: free".
func deviceState(d reserve.State) string {
	out := d.ID
	if d.Memory > 0 {
		out += ", " + size(d.Memory)
	}
	switch {
	case d.Whole:
		out += ": taken by a task"
	case d.Tasks > 0:
		out += fmt.Sprintf(": %s taken by %d tasks", size(d.Shared), d.Tasks)
	case d.Fault == "":
		out += ": free"
	}
	if d.Fault != "" {
		out += "; drained: " + d.Fault
	}
	return out
}
