package lab

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDiagnose(t *testing.T) {
	for _, c := range []struct {
		name string
		saw  observations
		want Case
		fix  string
	}{
		{"all well", observations{MaxUserNS: 1000}, "", ""},
		{"all well as root under AppArmor", observations{Root: true, AppArmorOn: true, MaxUserNS: 1000}, "", ""},
		{"namespaces off", observations{StartErr: syscall.ENOSPC, MaxUserNS: 0}, NamespacesOff, "sysctl -w user.max_user_namespaces=15000"},
		{"limit reached", observations{StartErr: syscall.ENOSPC, MaxUserNS: 3}, NamespacesOff, "user.max_user_namespaces"},
		{"Debian's switch", observations{StartErr: syscall.EPERM, CloneOff: true, MaxUserNS: 1000}, CloneForbidden, "kernel.unprivileged_userns_clone=1"},
		{"Ubuntu: unshare works, without capabilities", observations{ProbeStep: "capability", ProbeErrno: syscall.EPERM, AppArmorOn: true, MaxUserNS: 1000},
			AppArmor, "kernel.apparmor_restrict_unprivileged_userns=0"},
		{"Ubuntu: writing the map is refused", observations{StartErr: fmt.Errorf("fork/exec: %w", syscall.EACCES), AppArmorOn: true, MaxUserNS: 1000},
			AppArmor, "kernel.apparmor_restrict_unprivileged_userns=0"},
		{"container", observations{StartErr: syscall.EPERM, Seccomp: true, MaxUserNS: 1000}, Seccomp, "seccomp=unconfined"},
		{"container, as root", observations{Root: true, StartErr: syscall.EPERM, Seccomp: true, MaxUserNS: 1000}, Seccomp, "seccomp=unconfined"},
		{"container that hides parts of /proc", observations{ProbeStep: "proc", ProbeErrno: syscall.EPERM, MaxUserNS: 1000}, NamespaceFailed, "systempaths=unconfined"},
		{"no tun", observations{ProbeStep: "tun", ProbeErrno: syscall.ENOENT, NoTUN: true, MaxUserNS: 1000}, NoTUN, "modprobe tun"},
		{"tun without a driver", observations{ProbeStep: "tun", ProbeErrno: syscall.ENODEV, MaxUserNS: 1000}, NoTUN, "modprobe tun"},
		{"tun is root's", observations{ProbeStep: "tun", ProbeErrno: syscall.EACCES, MaxUserNS: 1000}, TUNForbidden, "chmod 0666 /dev/net/tun"},
		{"something else", observations{StartErr: syscall.EINVAL, MaxUserNS: -1}, NamespaceFailed, ""},
		{"something else inside", observations{ProbeStep: "mount", ProbeErrno: syscall.EPERM, MaxUserNS: 1000}, NamespaceFailed, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := diagnose(c.saw)
			if c.want == "" {
				if err != nil {
					t.Fatalf("got %v, want none", err)
				}
				return
			}
			o, ok := err.(*Obstacle)
			if !ok || o.Case != c.want || !strings.Contains(o.Fix, c.fix) || !strings.Contains(o.Error(), "sudo -E") {
				t.Errorf("got %v; want %q, a fix with %q, and the offer of sudo -E", err, c.want, c.fix)
			}
		})
	}
}

// The heap gives parcels back in the order of a sorted list.
func TestFlightIsASortedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f flight
		var slow []parcel
		epoch := time.Unix(0, 0)
		for _, step := range rapid.SliceOf(rapid.IntRange(-5, 20)).Draw(t, "steps") {
			if step >= 0 {
				p := parcel{due: epoch.Add(time.Duration(step)), order: f.count}
				f.add(p)
				slow = append(slow, p)
				slices.SortStableFunc(slow, func(a, b parcel) int { return cmp.Compare(a.due.UnixNano(), b.due.UnixNano()) })
				continue
			}
			due, ok := f.next()
			if ok != (len(slow) > 0) || f.len() != len(slow) {
				t.Fatalf("heap has %d, list %d", f.len(), len(slow))
			}
			if !ok {
				continue
			}
			got := f.take()
			if got.order != slow[0].order || !got.due.Equal(due) {
				t.Fatalf("took number %d, want %d", got.order, slow[0].order)
			}
			slow = slow[1:]
		}
	})
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]int64{
		"100Mbit": 100e6, "1.5Gbit": 1.5e9, "64kbit/s": 64e3, "8bit": 8, "10 mbit": 10e6, " 2Gbit ": 2e9,
		"": 0, "bit": 0, "100": 0, "Mbit": 0, "0Mbit": 0, "NaNbit": 0, "1e300Gbit": 0, "100MB": 0,
	} {
		if got, err := parseRate(text); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}
