package port

import (
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// pickyDoor refuses, as some kernels do, marks which its port believes it takes.
type pickyDoor struct {
	refuses takes
	keep    bool
	asked   int
	got     []ether.Packet
}

func (d *pickyDoor) put(_ int, p *ether.Packet) error {
	d.asked++
	if p.Offload.Segmented() && needs(p.Offload)&d.refuses != 0 || p.Offload.Partial() && d.refuses&takesChecksum != 0 {
		return refusal(syscall.EINVAL)
	}
	if d.keep {
		d.got = append(d.got, clonePacket(p))
	}
	return nil
}

func (d *pickyDoor) refreshMTU() int { return 0 }

func TestRefusedOffloadIsUsedNoMore(t *testing.T) {
	rows := []struct {
		name    string
		r       recipe
		refuses takes
		left    takes
		asked   int // of two packets: once in vain, then all pieces twice
	}{
		{"USO", recipe{udp: true, payload: 3000, gso: 1000}, takesUSO, takesAll &^ takesUSO, 1 + 2*3},
		{"TSO", recipe{payload: 3000, gso: 1000}, takesTSO4, takesAll &^ takesTSO4, 1 + 2*3},
		{"TSO6", recipe{payload: 3000, gso: 1000, v6: true}, takesTSO6, takesAll &^ takesTSO6, 1 + 2*3},
		{"partial checksum", recipe{payload: 30, partial: true}, takesChecksum, 0, 1 + 2*1},
		{"all, met by a super-frame", recipe{payload: 3000, gso: 1000}, takesAll, 0, 2 + 2*3},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := &pickyDoor{refuses: row.refuses, keep: true}
			o := outlet{door: d}
			o.start(takesAll, "", 0)
			for range 2 {
				if n, err := o.write(0, []ether.Packet{row.r.packet()}); n != 1 || err != nil {
					t.Fatalf("%d went, %v", n, err)
				}
			}
			if left := takes(o.takes.Load()); left != row.left || d.asked != row.asked {
				t.Errorf("left %v, want %v; asked %d times, want %d", left.names(), row.left.names(), d.asked, row.asked)
			}
			for name, why := range o.off() {
				if why != "refused when writing: invalid argument" {
					t.Errorf("%s is off: %s", name, why)
				}
			}
			if got := len(o.off()) + len(row.left.names()); got != takesCount {
				t.Errorf("%d offloads are told of", got)
			}
			for i := range d.got {
				if err := ether.Complete(&d.got[i]); err != nil {
					t.Fatal(err)
				}
			}
			want := append(finished(row.r.packet()), finished(row.r.packet())...)
			if diff := cmp.Diff(want, d.got, wholeFrames()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLieIsNotBlamedOnTheKernel(t *testing.T) {
	o := outlet{door: &pickyDoor{refuses: takesAll}}
	o.takes.Store(uint32(takesAll))
	lie := recipe{payload: 3000, gso: 1000}.packet()
	lie.Offload.CsumStart++
	if n, err := o.write(0, []ether.Packet{lie}); n != 0 || err != nil {
		t.Fatalf("%d went, %v", n, err)
	}
	if left := takes(o.takes.Load()); left != takesAll {
		t.Fatalf("left only %v", left.names())
	}
}

func TestWhatIsOffHasAReason(t *testing.T) {
	o := outlet{door: &pickyDoor{}}
	o.start(takesAll&^takesUSO, "not by this kernel", 0)
	steps := []struct {
		use  []string
		want map[string]string
	}{
		{[]string{"csum", "tso4", "tso6", "uso"}, map[string]string{"uso": "not by this kernel"}},
		{[]string{"csum", "tso6"}, map[string]string{"tso4": whySwitched, "uso": "not by this kernel"}},
		{[]string{}, map[string]string{"csum": whySwitched, "tso4": whyChecksum, "tso6": whyChecksum, "uso": "not by this kernel"}},
	}
	for _, s := range steps {
		if _, err := o.use(s.use); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s.want, o.off()); diff != "" {
			t.Errorf("use %v (-want +got):\n%s", s.use, diff)
		}
	}
}
