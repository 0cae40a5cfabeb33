package bench

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/virtuoso-vnet/virtuoso/api/vnet/v1/vnetv1connect"
)

// socket is where a daemon in a lab serves: there everybody is root.
const socket = "/run/vnet/vnet.sock"

// Client is a client of the daemon of the host that this process runs in, on one connection that stays open.
func Client() vnetv1connect.DaemonClient {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	return vnetv1connect.NewDaemonClient(&http.Client{Transport: transport}, "http://vnet")
}

// Time is how long f takes, in milliseconds.
func Time(f func() error) (float64, error) {
	began := time.Now()
	err := f()
	return Millis(time.Since(began)), err
}

// Millis is a duration in milliseconds.
func Millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
