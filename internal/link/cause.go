package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/quic-go/quic-go"
)

// setupError says how far an attempt came, in words of people who look for the cause.
type setupError struct {
	to   netip.AddrPort
	what string
	err  error
}

func (e *setupError) Error() string { return fmt.Sprintf("%v: %s", e.to, e.what) }
func (e *setupError) Unwrap() error { return e.err }

// cause puts an attempt's failure into words. answered says that the handshake was over, so what failed came after it.
func cause(to netip.AddrPort, answered bool, err error) error {
	return &setupError{to: to, what: causeText(answered, err), err: err}
}

func causeText(answered bool, err error) string {
	var transport *quic.TransportError
	switch {
	case errors.As(err, &transport) && transport.Remote && transport.ErrorCode.IsCryptoError():
		return fmt.Sprintf("it does not accept this node's certificate (%v): a clock is wrong, the key was revoked, or it is of another overlay; see the log there", err)
	case refusedCertificate(err):
		return fmt.Sprintf("it does not accept this node's certificate: %v", err)
	case answered && (silent(err) || unheard(err)):
		return "it answers, but the datagrams that carry frames do not come through both ways: a firewall lets nothing but QUIC pass, or the path is too slow"
	case silent(err):
		return "no answer"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens there"
	}
	return err.Error()
}

// silent says that the time was up.
func silent(err error) bool {
	var idle *quic.IdleTimeoutError
	var handshake *quic.HandshakeTimeoutError
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &idle) || errors.As(err, &handshake)
}

// unheard says that a link died in its set-up because one end heard no datagram of the other.
func unheard(err error) bool {
	var closed *closedError
	if errors.As(err, &closed) && (closed.reason == errSilent.Error() || closed.reason == errUnsaid.Error()) {
		return true
	}
	return errors.Is(err, errSilent) || errors.Is(err, errUnsaid)
}

// refusedCertificate says that the far end of a TLS connection ended it with an alert.
func refusedCertificate(err error) bool {
	var remote *net.OpError
	return errors.As(err, &remote) && remote.Op == "remote error"
}
