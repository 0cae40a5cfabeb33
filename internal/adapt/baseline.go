package adapt

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// directFor is how long a direct link outlives its reason: EVIO's 180 s of an on-demand tunnel, taken for both policies that
// are triggered by traffic.
const directFor = 180 * time.Second

// Star is the seed's start-up topology and no more.
func Star(now time.Time, v View) Proposal { return wanting(now, v).propose() }

// Mesh is what most overlays are: everybody has a link to everybody.
func Mesh(now time.Time, v View) Proposal {
	l := wanting(now, v)
	vms := vmsOf(v.Overlay)
	for i, a := range vms {
		for _, b := range vms[:i] {
			l.want(b.MAC, a.MAC, 0, "mesh")
		}
	}
	return l.propose()
}

// FirstPacket is a shortcut as NHRP and its like make it: whoever talks gets a direct link.
func FirstPacket(now time.Time, v View) Proposal {
	return triggered(now, v, "pair that talks", func(t Talk) time.Time { return t.Last })
}

// ByteThreshold is EVIO's trigger: 10 MB in 10 s.
func ByteThreshold(now time.Time, v View) Proposal {
	return triggered(now, v, "pair that moved 10 MB in 10 s", func(t Talk) time.Time { return t.Heavy })
}

func triggered(now time.Time, v View, why string, by func(Talk) time.Time) Proposal {
	l := wanting(now, v)
	for pair, t := range v.Past.Talks {
		if at := by(t); !at.IsZero() && now.Sub(at) < directFor {
			l.want(pair.Src, pair.Dst, 0, why)
		}
	}
	return l.propose()
}

// Oracle knows in advance who talks with whom, from Config.Told.
func Oracle(now time.Time, v View) Proposal {
	l := wanting(now, v)
	told, _ := readTold(v.Config.Told) // Config.Check has
	for _, pair := range told {
		a, okA := vmCalled(v.Overlay, pair[0])
		b, okB := vmCalled(v.Overlay, pair[1])
		if okA && okB {
			l.want(a.MAC, b.MAC, 0, "told")
		}
	}
	return l.propose()
}

// readTold reads "vm1=vm2,vm2=vm3".
func readTold(text string) (pairs [][2]string, err error) {
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		a, b, ok := strings.Cut(part, "=")
		if !ok || a == "" || b == "" {
			return nil, fmt.Errorf("cannot read %q as a pair of VMs: write vm1=vm2,vm2=vm3", part)
		}
		pairs = append(pairs, [2]string{a, b})
	}
	return pairs, nil
}

// vmCalled finds a VM by its name, its MAC or its place.
func vmCalled(o *overlay.Overlay, name string) (overlay.VM, bool) {
	if m, err := ether.ParseMAC(name); err == nil {
		vm, ok := o.VMs[m]
		return vm, ok
	}
	all := vmsOf(o)
	i := slices.IndexFunc(all, func(v overlay.VM) bool { return v.Name == name || string(v.Node)+"/"+v.Port == name })
	if i < 0 {
		return overlay.VM{}, false
	}
	return all[i], true
}

// vmsOf are all VMs in order of their MACs.
func vmsOf(o *overlay.Overlay) []overlay.VM {
	all := make([]overlay.VM, 0, len(o.VMs))
	for _, vm := range o.VMs {
		all = append(all, vm)
	}
	slices.SortFunc(all, func(a, b overlay.VM) int { return a.MAC.Compare(b.MAC) })
	return all
}
