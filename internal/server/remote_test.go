package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/api/vnet/v1/vnetv1connect"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/server"
	"github.com/virtuoso-vnet/virtuoso/internal/server/servertest"
)

// afar is a Proxy that serves clients over TLS, and its authority.
func afar(t *testing.T) (ca *pki.CA, addr string) {
	t.Helper()
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
	r := server.NewRemote(func() server.Daemon { return servertest.New("proxy") }, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- r.Run(ctx) }()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				ended <- nil
				return
			}
			if secure := conn.(*tls.Conn); secure.Handshake() == nil && pki.HTTP(secure.ConnectionState()) {
				go r.Take(secure)
				continue
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		cancel()
		l.Close()
		<-ended
		<-ended
	})
	return ca, l.Addr().String()
}

// caller is a client with an identity.
func caller(t *testing.T, id *pki.Identity, addr string) vnetv1connect.DaemonClient {
	t.Helper()
	transport := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&tls.Dialer{Config: id.ClientTLS()}).DialContext(ctx, "tcp", addr)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return vnetv1connect.NewDaemonClient(&http.Client{Transport: transport}, "https://vnet")
}

func TestRolesFromAfar(t *testing.T) {
	ca, addr := afar(t)
	ctx := t.Context()
	calls := []struct {
		name  string
		least pki.Role
		call  func(vnetv1connect.DaemonClient) error
	}{
		{"look", pki.RoleRead, func(c vnetv1connect.DaemonClient) error {
			_, err := c.ListLinks(ctx, &api.ListLinksRequest{})
			return err
		}},
		{"change", pki.RoleOperate, func(c vnetv1connect.DaemonClient) error {
			_, err := c.SetBound(ctx, &api.SetBoundRequest{})
			return err
		}},
		{"let in", pki.RoleAdmin, func(c vnetv1connect.DaemonClient) error {
			_, err := c.CreateToken(ctx, &api.CreateTokenRequest{})
			return err
		}},
		{"put out", pki.RoleAdmin, func(c vnetv1connect.DaemonClient) error {
			_, err := c.RevokeNode(ctx, &api.RevokeNodeRequest{Name: "host2"})
			return err
		}},
	}
	for _, role := range []pki.Role{pki.RoleRead, pki.RoleOperate, pki.RoleAdmin} {
		id, err := ca.Issue("alice", role, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		client := caller(t, id, addr)
		for _, c := range calls {
			err := c.call(client)
			if role >= c.least && err != nil || role < c.least && connect.CodeOf(err) != connect.CodePermissionDenied {
				t.Errorf("%v may %s from role %v on: %v", role, c.name, c.least, err)
			}
		}
	}
}

func TestWhoIsNoClientIsNotServed(t *testing.T) {
	ca, addr := afar(t)
	other, err := pki.NewCA("lan", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	host, err := ca.Issue("host1", pki.RoleHost, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := other.Issue("alice", pki.RoleAdmin, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	stranger.Roots = host.Roots // it believes the Proxy, which does not believe it
	expired, err := ca.Issue("alice", pki.RoleAdmin, time.Now().Add(-3*time.Hour), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]*pki.Identity{"a host": host, "a client of another authority": stranger, "a client of yesterday": expired} {
		if _, err := caller(t, id, addr).GetStatus(t.Context(), &api.GetStatusRequest{}); err == nil {
			t.Errorf("%s is served", name)
		}
	}
}

// Every method has a role that was thought about: what is not named needs admin, and that must be meant.
func TestEveryMethodHasARole(t *testing.T) {
	admin := "CreateToken ListTokens RevokeToken ApproveNode RevokeNode RotateCA CreateClient ForgetKey Leave SetLinkCipher SetSeal" // the last two may take the cipher off
	methods := api.File_vnet_v1_vnet_proto.Services().ByName("Daemon").Methods()
	for i := range methods.Len() {
		name := string(methods.Get(i).Name())
		if meant := strings.Contains(" "+admin+" ", " "+name+" "); (server.Need(name) == pki.RoleAdmin) != meant {
			t.Errorf("%s needs %v", name, server.Need(name))
		}
	}
	if server.Need("Nonsense") != pki.RoleAdmin {
		t.Error("a method that nobody knows needs less than admin")
	}
	if _, err := pki.ParseRole("king"); err == nil || errors.Is(err, pki.ErrName) {
		t.Error("a role that is none")
	}
}

// Who may not take a cipher or a seal away by name may not do so by a description either.
func TestOnlyAdminsUnseal(t *testing.T) {
	ca, addr := afar(t)
	as := func(role pki.Role) vnetv1connect.DaemonClient {
		id, err := ca.Issue("alice", role, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return caller(t, id, addr)
	}
	apply := func(c vnetv1connect.DaemonClient, dry bool, text string) error {
		_, err := c.ApplyOverlay(t.Context(), &api.ApplyOverlayRequest{Name: "t", Text: "vnet 1\n" + text, DryRun: dry})
		return err
	}
	admin, operator := as(pki.RoleAdmin), as(pki.RoleOperate)
	if err := apply(admin, false, "seal host1 host2\n"); err != nil {
		t.Fatal(err)
	}
	calls := map[string]struct {
		call  func(vnetv1connect.DaemonClient) error
		least pki.Role
	}{
		"more is wanted":     {func(c vnetv1connect.DaemonClient) error { return apply(c, false, "seal host1 host2\nmax-links 3\n") }, pki.RoleOperate},
		"what would be done": {func(c vnetv1connect.DaemonClient) error { return apply(c, true, "") }, pki.RoleOperate},
		"a link in the clear, by a file": {func(c vnetv1connect.DaemonClient) error {
			return apply(c, false, "seal host1 host2\nlink host1 host2 cipher trusted\n")
		}, pki.RoleAdmin},
		"a link in the clear": {func(c vnetv1connect.DaemonClient) error {
			_, err := c.AddLink(t.Context(), &api.AddLinkRequest{Peer: "host2", Cipher: "trusted"})
			return err
		}, pki.RoleAdmin},
		"a link in the clear, in a change": {func(c vnetv1connect.DaemonClient) error {
			_, err := c.ApplyChange(t.Context(), &api.ApplyChangeRequest{AddLinks: []*api.LinkEdit{{A: "host1", B: "host2", Cipher: "trusted"}}})
			return err
		}, pki.RoleAdmin},
		"no seal": {func(c vnetv1connect.DaemonClient) error { return apply(c, false, "") }, pki.RoleAdmin},
	}
	for name, c := range calls {
		err := c.call(operator)
		if c.least > pki.RoleOperate && connect.CodeOf(err) != connect.CodePermissionDenied || c.least <= pki.RoleOperate && err != nil {
			t.Errorf("%s, asked by an operator: %v", name, err)
		}
	}
	if err := calls["no seal"].call(admin); err != nil {
		t.Errorf("an admin may not take the seal away: %v", err)
	}
}
