package main

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

// For hours after vnet ca rotate the Proxy shows the older authority, and hosts have certificates of the newer one: no fault where
// the daemon, which knows both, has its link. To a machine that has only a token, another authority is another Proxy.
func TestDoctorKnowsOfTwoAuthorities(t *testing.T) {
	older, addr := serveJoins(t)
	newer, err := pki.NewCA("lan", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		why    string
		known  bool
		secret []byte
		ca     pki.Key
		want   string
	}{
		{"a node, after a rotation", true, nil, newer.Fingerprint(), "ok trust"},
		{"a node whose daemon does not run", false, nil, newer.Fingerprint(), "fault trust"},
		{"a token of another Proxy", true, []byte("secret"), newer.Fingerprint(), "fault trust"},
		{"a node", true, nil, older.Fingerprint(), "ok clock"},
	} {
		d := &doctor{now: time.Now, known: tt.known, token: pki.Token{Overlay: "lan", CA: tt.ca, Addrs: []string{addr}, Secret: tt.secret}}
		d.trust(t.Context(), addr)
		if len(d.found) != 1 || d.found[0].State+" "+d.found[0].Check != tt.want {
			t.Errorf("%s: %v, want %s", tt.why, d.found, tt.want)
		}
	}
}

// A clock that is wrong is named as the cause, whichever way it is wrong, and one that is a little wrong is let be.
func TestDoctorTellsTheTime(t *testing.T) {
	ca, addr := serveJoins(t)
	for off, want := range map[time.Duration]string{
		-24 * time.Hour:  "fault clock",
		24 * time.Hour:   "fault clock",
		61 * time.Minute: "fault clock",
		30 * time.Minute: "note clock",
		time.Minute:      "ok clock",
		-time.Minute:     "ok clock",
	} {
		d := &doctor{
			now:   func() time.Time { return time.Now().Add(off) },
			token: pki.Token{Overlay: "lan", CA: ca.Fingerprint(), Addrs: []string{addr}},
		}
		d.trust(t.Context(), addr)
		var got []string
		for _, f := range d.found {
			got = append(got, f.State+" "+f.Check)
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("clock off by %v: %v, want %s", off, d.found, want)
		}
	}
}

// serveJoins is a Proxy that does nothing but answer machines that want to join.
func serveJoins(t *testing.T) (ca *pki.CA, addr string) {
	ca, err := pki.NewCA("lan", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := ca.Issue("proxy", pki.RoleProxy, time.Now(), pki.LeafLife)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", proxy.ServerTLS("vnet/1"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				pki.AnswerJoin(conn, pki.Gate{CA: ca})
				conn.Close()
			}
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return ca, l.Addr().String()
}
