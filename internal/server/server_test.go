package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/api/vnet/v1/vnetv1connect"
	"github.com/virtuoso-vnet/virtuoso/internal/server/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server until the test ends and returns its socket.
func serve(t *testing.T, d Daemon) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "vnet.sock")
	ctx, cancel := context.WithCancel(t.Context())
	s := New(d, Config{Socket: path})
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("the socket is still there after the server stopped")
		}
	})
	return path
}

// dial is a client of a socket that speaks HTTP/1.1, or HTTP/2 when h2 is set.
func dial(t *testing.T, path string, h2 bool) *http.Client {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(!h2)
	protocols.SetUnencryptedHTTP2(h2)
	transport := &http.Transport{Protocols: &protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestEveryProtocolGetsTheSameAnswer(t *testing.T) {
	path := serve(t, servertest.New("host1"))
	tests := []struct {
		name    string
		h2      bool
		options []connect.ClientOption
	}{
		{"connect json", false, []connect.ClientOption{connect.WithProtoJSON()}},
		{"connect protobuf", false, nil},
		{"grpc", true, []connect.ClientOption{connect.WithGRPC()}},
		{"grpc-web", false, []connect.ClientOption{connect.WithGRPCWeb()}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := vnetv1connect.NewDaemonClient(dial(t, path, tt.h2), "http://vnet", tt.options...)
			links, err := client.ListLinks(t.Context(), &api.ListLinksRequest{})
			if err != nil || len(links.GetLinks()) != 1 || links.GetLinks()[0].GetName() != "proxy" {
				t.Errorf("links: %v, %v", links, err)
			}
			_, err = client.DeleteLink(t.Context(), &api.DeleteLinkRequest{Peer: "host9"})
			want := api.Error{Code: connect.CodeNotFound, Message: `cannot delete link: host1 has none to "host9"`, Hint: "see: vnet links"}
			if got := api.AsError(err); got == nil || *got != want {
				t.Errorf("got error %+v, want %+v", got, want)
			}
			stream, err := client.WatchEvents(t.Context(), &api.WatchEventsRequest{Backlog: 1})
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for stream.Receive() {
				kinds = append(kinds, stream.Msg().GetEvent().GetKind())
			}
			if err := errors.Join(stream.Err(), stream.Close()); err != nil || !slices.Equal(kinds, []string{"link.up", "rule.added"}) {
				t.Errorf("events %v, %v", kinds, err)
			}
		})
	}
}

func TestAStreamEndsWithTheServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vnet.sock")
	ctx, cancel := context.WithCancel(t.Context())
	s := New(servertest.New("host1"), Config{Socket: path})
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	stream, err := vnetv1connect.NewDaemonClient(dial(t, path, false), "http://vnet").WatchEvents(t.Context(), &api.WatchEventsRequest{})
	if err != nil || !stream.Receive() {
		t.Fatalf("no event: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for stream.Receive() {
	}
	stream.Close()
}

// tunnel makes host1 reach host2 the way daemons do: code and text for errors, bytes for the rest.
func tunnel(host1, host2 *servertest.Daemon) {
	host1.Peers = map[string]func(context.Context, string, []byte) ([]byte, error){
		"host2": func(ctx context.Context, method string, body []byte) ([]byte, error) {
			answer, err := Dispatch(ctx, host2, method, body)
			if e := api.AsError(err); e != nil {
				return nil, api.ErrorOf(e.Code.String(), e.Text())
			}
			return answer, nil
		},
	}
}

func TestAnotherNodeAnswers(t *testing.T) {
	host1, host2 := servertest.New("host1"), servertest.New("host2")
	tunnel(host1, host2)
	client := vnetv1connect.NewDaemonClient(dial(t, serve(t, host1), false), "http://vnet")
	for node, want := range map[string]string{"": "host1", "host1": "host1", "host2": "host2"} {
		got, err := client.GetStatus(t.Context(), &api.GetStatusRequest{Node: node})
		if err != nil || got.GetStatus().GetNode() != want {
			t.Errorf("asked node %q: %v answers (%v), want %s", node, got.GetStatus().GetNode(), err, want)
		}
	}
	_, err := client.AddLink(t.Context(), &api.AddLinkRequest{Node: "host2", Peer: "host2"})
	if got := api.AsError(err); got == nil || got.Code != connect.CodeNotFound || got.Hint != "see: vnet nodes" || !strings.Contains(got.Message, "host2 knows no other node") {
		t.Errorf("an error of another node arrives as %+v", got)
	}
	_, err = client.GetStatus(t.Context(), &api.GetStatusRequest{Node: "host9"})
	if got := api.AsError(err); got == nil || got.Code != connect.CodeNotFound {
		t.Errorf("an unknown node: %+v", got)
	}
	stream, err := client.WatchEvents(t.Context(), &api.WatchEventsRequest{Node: "host2"})
	if err == nil {
		stream.Receive()
		err = stream.Err()
		stream.Close()
	}
	if got := api.AsError(err); got == nil || got.Code != connect.CodeUnimplemented || got.Hint == "" {
		t.Errorf("events of another node: %+v", got)
	}
}

func TestDispatchKnowsEveryUnaryCall(t *testing.T) {
	methods := api.File_vnet_v1_vnet_proto.Services().ByName("Daemon").Methods()
	for i := range methods.Len() {
		m := methods.Get(i)
		if m.IsStreamingServer() {
			continue
		}
		_, err := Dispatch(t.Context(), servertest.New("proxy"), string(m.Name()), nil)
		if e := api.AsError(err); e != nil && e.Code == connect.CodeUnimplemented {
			t.Errorf("%s: %v", m.Name(), err)
		}
	}
}

func TestDispatchRefuses(t *testing.T) {
	elsewhere, err := proto.Marshal(&api.GetStatusRequest{Node: "host2"})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		method string
		body   []byte
		want   connect.Code
	}{
		{"NoSuchCall", nil, connect.CodeUnimplemented},
		{"WatchEvents", nil, connect.CodeUnimplemented},
		{"GetStatus", []byte{0xff}, connect.CodeInvalidArgument},
		{"GetStatus", elsewhere, connect.CodeUnavailable},
	}
	for _, tt := range tests {
		_, err := Dispatch(t.Context(), servertest.New("host1"), tt.method, tt.body)
		if got := api.AsError(err); got == nil || got.Code != tt.want {
			t.Errorf("%s: %+v, want %v", tt.method, got, tt.want)
		}
	}
}

func FuzzDispatch(f *testing.F) {
	f.Add("AddRule", []byte{0x12, 0x02, 0x08, 0x01})
	f.Fuzz(func(t *testing.T, method string, body []byte) {
		if _, err := Dispatch(t.Context(), servertest.New("host1"), method, body); err != nil {
			var e *api.Error
			if !errors.As(err, &e) {
				t.Errorf("%s: error is %T", method, err)
			}
		}
	})
}
