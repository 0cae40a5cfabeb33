package proxy

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// recordRing records 20 s of a ring of four VMs at four hosts, in iterations of 70 ms, as the Proxy would hear of them.
func recordRing(t testing.TB) []byte {
	t.Helper()
	r := newReplica(inference{})
	var out bytes.Buffer
	write := func(l line) {
		text, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(text, '\n'))
		decided, err := r.hear(l)
		if err != nil {
			t.Fatal(err)
		}
		if decided != nil {
			text, _ = json.Marshal(line{Decision: decided})
			out.Write(append(text, '\n'))
		}
	}
	o := overlay.New("proxy")
	macs := make([]ether.MAC, 4)
	names := []overlay.Name{"host1", "host2", "host3", "host4"}
	for i, name := range names {
		macs[i] = ether.MAC{2, 0, 0, 0, 0, byte(i + 1)}
		o.Nodes[name] = &overlay.Node{Name: name, Ports: []overlay.Port{{Name: "vm"}}}
		o.VMs[macs[i]] = overlay.VM{MAC: macs[i], Node: name, Port: "vm"}
		o.AddLink(overlay.Link{A: min(name, "proxy"), B: max(name, "proxy"), Origin: overlay.OriginStar})
	}
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	write(line{Start: &startLine{Format: recordFormat, At: start.UnixNano()}})
	write(line{View: &viewLine{Overlay: o, Bound: 40 * time.Millisecond}})
	var counters []*vttif.Counter
	var differs []*vttif.Differ
	for _, name := range names {
		counters, differs = append(counters, vttif.NewCounter(0)), append(differs, vttif.NewDiffer(string(name), 7))
	}
	for ms := range uint32(20_000) {
		at := start.Add(time.Duration(ms) * time.Millisecond)
		for i, c := range counters {
			c.At(ms)
			for _, to := range []int{(i + 1) % 4, (i + 3) % 4} {
				if ms%70 < 40 {
					c.Offered(macs[i], macs[to], 3000, 2, false)
				}
			}
			if ms%100 == uint32(10*i) {
				report := differs[i].Report(ms, c)
				data, err := node.Encode(report)
				if err != nil {
					t.Fatal(err)
				}
				write(line{Report: &reportLine{At: at.UnixNano(), Node: string(names[i]), Data: data}})
			}
		}
		if ms%50 == 0 {
			write(line{Step: at.UnixNano()})
		}
	}
	return out.Bytes()
}

func TestARecordingReplaysToTheSameDecisionsBitForBit(t *testing.T) {
	trace := recordRing(t)
	var decided []string
	got, err := Replay(bytes.NewReader(trace), func(text []byte) { decided = append(decided, string(text)) })
	if err != nil {
		t.Fatal(err)
	}
	if got.Different != "" || got.Same != got.Decisions || got.Decisions < 2 || got.Steps != 400 {
		t.Errorf("%+v", got)
	}
	if all := strings.Join(decided, "\n"); !strings.Contains(all, `"Name":"ring"`) || !strings.Contains(all, "open link") && !strings.Contains(all, `"proposal"`) {
		t.Errorf("decisions:\n%s", all)
	}
}

func TestAReplayNoticesAReportThatIsMissing(t *testing.T) {
	lines := strings.SplitAfter(string(recordRing(t)), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, `{"report"`) { // the first, so that decisions follow
			lines[i] = ""
			break
		}
	}
	got, err := Replay(strings.NewReader(strings.Join(lines, "")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Different == "" {
		t.Errorf("%+v", got)
	}
}

func TestReplayRefusesWhatIsNoRecording(t *testing.T) {
	for _, text := range []string{"", "hello\n", `{"step":5}` + "\n", `{"start":{"format":99}}` + "\n"} {
		if _, err := Replay(strings.NewReader(text), nil); err == nil {
			t.Errorf("%q was replayed", text)
		}
	}
}
