package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"

	"connectrpc.com/connect"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/api/vnet/v1/vnetv1connect"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

// maxRemote bounds how many clients may be connected from afar at a time.
const maxRemote = 64

// Remote serves a daemon's API to clients from afar, whom TLS has identified: each may call what its role allows. It does not
// listen; whoever does gives it connections with Take.
type Remote struct {
	daemon func() Daemon
	log    *slog.Logger
	conns  chan net.Conn
	slots  chan struct{} // one a client
	ended  chan struct{} // closed when Run ends
}

// NewRemote touches nothing; Run does. Run asks for the daemon, which need not be there yet.
func NewRemote(d func() Daemon, log *slog.Logger) *Remote {
	return &Remote{daemon: d, log: log, conns: make(chan net.Conn), slots: make(chan struct{}, maxRemote), ended: make(chan struct{})}
}

// Take gives it a client's connection, whose handshake is over. It closes what it cannot serve.
func (r *Remote) Take(conn *tls.Conn) {
	select {
	case r.slots <- struct{}{}:
	default:
		conn.Close()
		return
	}
	select {
	case r.conns <- conn:
	case <-r.ended:
		conn.Close()
	}
}

// Run serves until ctx ends.
func (r *Remote) Run(ctx context.Context) error {
	base, end := context.WithCancel(context.WithoutCancel(ctx))
	srv := &http.Server{
		Handler: r.handler(), ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog:    slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateClosed {
				<-r.slots
			}
		},
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := srv.Serve(listener{r}); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			r.log.Warn("clients from afar are no longer served", "error", err)
		}
	})
	<-ctx.Done()
	end()
	close(r.ended)
	srv.Close()
	serving.Wait()
	return nil
}

// listener hands the connections that Take got to the HTTP server.
type listener struct{ r *Remote }

func (l listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.r.conns:
		return conn, nil
	case <-l.r.ended:
		return nil, net.ErrClosed
	}
}

func (l listener) Close() error   { return nil }
func (l listener) Addr() net.Addr { return &net.TCPAddr{} }

// handler is Handler behind the question whether the client's role allows it.
func (r *Remote) handler() http.Handler {
	inner := Handler(r.daemon())
	complain := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		name, role, err := pki.PeerOf(*req.TLS)
		method, ok := strings.CutPrefix(req.URL.Path, "/"+vnetv1connect.DaemonName+"/")
		if req.URL.Path == metricsPath {
			method, ok = "GetCounters", true
		}
		if need := Need(method); err != nil || !ok || role < need {
			r.log.Warn("client refused", "client", name, "role", role.String(), "asked", req.URL.Path)
			refusal := api.Errorf(connect.CodePermissionDenied, "cannot do this: %s has the role %v, and %s needs %v", name, role, method, need).
				WithHint("a key for that is made at the Proxy: vnet client create %s --role %v", name, need)
			if complain.Write(w, req, refusal.Connect()) != nil {
				http.Error(w, refusal.Error(), http.StatusForbidden)
			}
			return
		}
		inner.ServeHTTP(w, req.WithContext(withRole(req.Context(), role)))
	})
}

// Need is the least role that may call a method of the API. What is in neither list, also what comes later, needs admin.
func Need(method string) pki.Role {
	switch method {
	case "GetStatus", "ListNodes", "ListPorts", "ListInterfaces", "ListLinks", "ListRules", "GetBound", "GetApp", "GetTraffic",
		"GetAdaptation", "GetCounters", "WatchEvents", "WatchView", "GetOverlay", "GetJournal", "ListKeys", "Explain":
		return pki.RoleRead
	case "SetOffload", "AddLink", "DeleteLink", "RekeyLink", "SetLinkCarrier", "SetLinkPorts", "SetPortLimit", "AddRule", "DeleteRule", "ApplyChange", "ApplyOverlay", "Trace",
		"SetBound", "SetInference", "SetAdaptation", "RecordTraffic", "AcceptProposal", "AcquireLease", "ReleaseLease", "ApplyPlan":
		return pki.RoleOperate
	}
	return pki.RoleAdmin
}
