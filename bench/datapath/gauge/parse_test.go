package gauge

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWhatIperfSays(t *testing.T) {
	s, err := parseStream([]byte(`{"end": {"sum_sent": {"bytes": 2100000000, "retransmits": 3}, "sum_received": {"bytes": 2e9, "seconds": 2}}}`), 5)
	if want := (Stream{Rate: 8e9, CPU: 2.5, Resent: 3, Seconds: 2}); err != nil || s != want {
		t.Errorf("read %+v, %v; want %+v", s, err, want)
	}
	for _, bad := range []string{"", "{}", `{"error": "unable to connect"}`} {
		if _, err := parseStream([]byte(bad), 1); err == nil {
			t.Errorf("%q is no error", bad)
		}
	}
}

func TestWhatPingSays(t *testing.T) {
	text := "PING 10.80.0.2\n64 bytes from 10.80.0.2: icmp_seq=1 ttl=64 time=0.047 ms\n64 bytes from 10.80.0.2: icmp_seq=3 ttl=64 time=12 ms\n\n--- statistics\nrtt min/avg/max/mdev = 0.047/6.0/12.0/0.1 ms\n"
	if got, want := parsePings(text), []time.Duration{47 * time.Microsecond, 12 * time.Millisecond}; !slices.Equal(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
}

func TestDamageIsSeen(t *testing.T) {
	size := int64(3*block + 100)
	sent, err := io.ReadAll(io.LimitReader(seeded(7), size))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := compare(bytes.NewReader(sent), seeded(7), size); n != size || err != nil {
		t.Errorf("what arrived whole counts as %d bytes, %v", n, err)
	}
	sent[2*block+9] ^= 4
	if n, err := compare(bytes.NewReader(sent), seeded(7), size); n != 2*block || err == nil || !strings.Contains(err.Error(), "corrupted") {
		t.Errorf("one bit turned over passes for %d bytes, %v", n, err)
	}
	if _, err := compare(bytes.NewReader(sent[:block]), seeded(7), size); err == nil {
		t.Error("a stream that ends early is no error")
	}
}
