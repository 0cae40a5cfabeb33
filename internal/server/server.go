// Package server lets clients ask a daemon through the API vnet.v1, over a unix socket.
//
// It does not decide or know anything about the overlay: a [Daemon] answers. It does not authenticate nodes; on the socket
// the kernel says who the client is.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"connectrpc.com/connect"

	"github.com/virtuoso-vnet/virtuoso/api/vnet/v1/vnetv1connect"
	"github.com/virtuoso-vnet/virtuoso/internal/lang"
)

const (
	// maxRequest bounds a request in bytes; the largest is a description, whose text JSON may make longer.
	maxRequest = 2 * lang.MaxFile
	// headerTimeout keeps a client that connects and says nothing from holding a connection.
	headerTimeout = 5 * time.Second
	// drainTime is what calls under way get when the daemon stops; event streams are ended at once.
	drainTime = time.Second
)

// Config says where to serve.
type Config struct {
	Socket  string // path of the unix socket
	User    int    // whose it is: the user that the daemon is about to become; 0: whose it is now
	Group   int    // if Grouped, its members may use the socket too, as if they were the user
	Grouped bool
	Metrics netip.AddrPort // loopback port for monitors; zero: none, the totals are on the socket only
	Log     *slog.Logger   // nil: silent
}

// Server serves one daemon on one unix socket.
type Server struct {
	daemon Daemon
	cfg    Config
	ready  chan struct{} // closed by Run once the socket takes connections
}

// New touches nothing; Run does.
func New(d Daemon, cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{daemon: d, cfg: cfg, ready: make(chan struct{})}
}

// Ready is closed once clients can connect.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// String names the task in logs.
func (s *Server) String() string { return "api on " + s.cfg.Socket }

// Handler answers the API over gRPC, gRPC-Web and Connect (JSON) for a daemon, whatever it is served on; and monitors.
func Handler(d Daemon) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(metricsPath, serveMetrics(d))
	mux.Handle(vnetv1connect.NewDaemonHandler(service{d}, connect.WithReadMaxBytes(maxRequest)))
	return mux
}

// Run serves until ctx is done, then removes the socket. It fails at once when another daemon serves on the socket.
func (s *Server) Run(ctx context.Context) error {
	socket, err := listen(s.cfg)
	if err != nil {
		return err
	}
	defer socket.remove()

	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true) // gRPC
	monitored := make(chan error, 1)
	if s.cfg.Metrics.IsValid() {
		monitor, stop := context.WithCancel(ctx)
		defer func() { stop(); <-monitored }()
		go func() { monitored <- s.serveMonitor(monitor); close(monitored) }()
	}
	base, endStreams := context.WithCancel(context.WithoutCancel(ctx))
	defer endStreams()
	srv := &http.Server{
		Handler:           Handler(s.daemon),
		Protocols:         &protocols,
		ReadHeaderTimeout: headerTimeout,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(socket) }()
	close(s.ready)
	select {
	case err := <-served: // only by itself when accepting fails for good
		return err
	case err := <-monitored:
		if err != nil {
			srv.Close()
			<-served
			return err
		}
	case <-ctx.Done():
	}
	endStreams()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		srv.Close() // the clients that did not finish in time
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
