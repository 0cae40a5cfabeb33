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

// A clock that is wrong is named as the cause, whichever way it is wrong, and one that is a little wrong is let be.
func TestDoctorTellsTheTime(t *testing.T) {
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
	defer func() { l.Close(); <-done }()
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
			token: pki.Token{Overlay: "lan", CA: ca.Fingerprint(), Addrs: []string{l.Addr().String()}},
		}
		d.trust(t.Context(), l.Addr().String())
		var got []string
		for _, f := range d.found {
			got = append(got, f.State+" "+f.Check)
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("clock off by %v: %v, want %s", off, d.found, want)
		}
	}
}
