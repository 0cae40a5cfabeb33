package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/api/vnet/v1/vnetv1connect"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

const (
	// callTime bounds one call. The slowest, a link that is dialled over udp, then tcp, and proven, takes a few seconds.
	callTime = 30 * time.Second
	// completeTime bounds what a shell waits for when Tab is pressed.
	completeTime = time.Second
)

// errUnreachable means that no daemon answers on the socket.
var errUnreachable = errors.New("no daemon answers")

// client asks the daemon of one socket.
type client struct {
	vnetv1connect.DaemonClient
	path string
}

// daemon is the client of the daemon the flags name; it connects with the first call.
func (c *cli) daemon() client {
	if c.remote != "" {
		return c.afar()
	}
	path := cmp.Or(c.socket, clientPath(c.overlay))
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err != nil && ctx.Err() == nil {
			return nil, fmt.Errorf("cannot reach a daemon: %w on %s (%w)", errUnreachable, path, errors.Unwrap(err))
		}
		return conn, err
	}}
	return client{vnetv1connect.NewDaemonClient(&http.Client{Transport: transport}, "http://vnet"), path}
}

// afar is the client of a Proxy over the network.
func (c *cli) afar() client {
	transport := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if c.key == "" {
			return nil, errors.New("cannot show who asks: name the file of a key with --identity; one is made at the Proxy with: vnet client create")
		}
		text, err := os.ReadFile(c.key)
		if err != nil {
			return nil, fmt.Errorf("cannot show who asks: %w; make a key at the Proxy with: vnet client create, and name it with --identity", err)
		}
		id, err := pki.DecodeIdentity(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.key, err)
		}
		conn, err := (&tls.Dialer{Config: id.ClientTLS()}).DialContext(ctx, "tcp", c.remote)
		if err != nil && ctx.Err() == nil {
			return nil, fmt.Errorf("cannot reach a daemon: %w at %s (%w)", errUnreachable, c.remote, err)
		}
		return conn, err
	}}
	return client{vnetv1connect.NewDaemonClient(&http.Client{Transport: transport}, "https://vnet"), c.remote}
}

// ask makes one call and returns its answer; the error names the socket when nobody answered there.
func ask[Q, R any](cmd *cobra.Command, call func(context.Context, Q) (R, error), req Q) (R, error) {
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), callTime, fmt.Errorf("cannot get an answer: none came in %v", callTime))
	defer cancel()
	resp, err := call(ctx, req)
	switch {
	case cmd.Context().Err() != nil:
		return resp, errors.New("cannot finish: interrupted; what was asked may still happen")
	case err != nil && ctx.Err() != nil:
		return resp, context.Cause(ctx)
	}
	return resp, plain(err)
}

// plain takes off what HTTP wraps around an error of the socket.
func plain(err error) error {
	if !errors.Is(err, errUnreachable) {
		return err
	}
	var inner error
	for e := err; e != nil && errors.Is(e, errUnreachable) && e != errUnreachable; e = errors.Unwrap(e) {
		inner = e
	}
	return inner
}

// nodeNames offers node names for completion; without a daemon there are none.
func (c *cli) nodeNames() []string {
	ctx, cancel := context.WithTimeout(context.Background(), completeTime)
	defer cancel()
	resp, err := c.daemon().ListNodes(ctx, &api.ListNodesRequest{})
	if err != nil {
		return nil
	}
	var names []string
	for _, n := range resp.GetNodes() {
		names = append(names, n.GetName())
	}
	return names
}

// vmNames offers the names of VMs for completion.
func (c *cli) vmNames(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	resp, err := c.daemon().GetOverlay(ctx, &api.GetOverlayRequest{Node: c.node})
	if err != nil {
		return nil
	}
	var names []string
	for _, v := range resp.GetOverlay().GetVms() {
		names = append(names, cmp.Or(v.GetName(), v.GetMac()))
	}
	return names
}

// linkNames offers the links of the node for completion.
func (c *cli) linkNames() []string {
	ctx, cancel := context.WithTimeout(context.Background(), completeTime)
	defer cancel()
	resp, err := c.daemon().ListLinks(ctx, &api.ListLinksRequest{Node: c.node})
	if err != nil {
		return nil
	}
	var names []string
	for _, l := range resp.GetLinks() {
		names = append(names, l.GetName())
	}
	return names
}

// completeFirst offers values for the first argument.
func completeFirst(values func() []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return values(), cobra.ShellCompDirectiveNoFileComp
	}
}
