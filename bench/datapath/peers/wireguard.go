package peers

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/stage"
)

// wireguardPort is the first of the UDP ports; each peer has its own.
const wireguardPort = 51000

// startWireGuard is one of the implementations of WireGuard in Go, configured over its UAPI socket: there is no module of
// the kernel's that wg(8) would want, and no need of wg(8).
func startWireGuard(program string) func(context.Context, *stage.Stage, Programs, int) (*Running, error) {
	return func(ctx context.Context, s *stage.Stage, p Programs, nr int) (*Running, error) {
		a, b := guests(nr)
		r := &Running{Between: between(s, a, b), What: module(program) + ", defaults (layer 3)"}
		keyA, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		keyB, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		for _, side := range []struct {
			host, far string
			key       *ecdh.PrivateKey
			peer      *ecdh.PublicKey
			allowed   string
		}{{HostA, underlayB, keyA, keyB.PublicKey(), b.Masked().String()}, {HostB, underlayA, keyB, keyA.PublicKey(), a.Masked().String()}} {
			device := fmt.Sprintf("wg%d%s", nr, side.host)
			d, err := s.Start(side.host, program, []string{"LOG_LEVEL=error", "WG_PROCESS_FOREGROUND=1"}, p[program], "-f", device)
			if err != nil {
				return nil, err
			}
			r.Daemons = append(r.Daemons, d)
			settings := fmt.Sprintf("private_key=%x\nlisten_port=%d\npublic_key=%x\nendpoint=%s:%d\nallowed_ip=%s\n",
				side.key.Bytes(), wireguardPort+nr, side.peer.Bytes(), side.far, wireguardPort+nr, side.allowed)
			if err := stage.Await(ctx, startTime, func() error { return configure(device, settings) }); err != nil {
				return nil, fmt.Errorf("%w%s", err, r.complaints())
			}
		}
		return r, r.address(ctx, fmt.Sprintf("wg%da", nr), fmt.Sprintf("wg%db", nr), a, b)
	}
}

// configure speaks WireGuard's cross-platform user-space protocol (www.wireguard.com/xplatform).
func configure(device, settings string) error {
	conn, err := net.Dial("unix", "/var/run/wireguard/"+device+".sock")
	if err != nil {
		return fmt.Errorf("cannot configure %s: %w", device, err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "set=1\n"+settings+"\n"); err != nil {
		return fmt.Errorf("cannot configure %s: %w", device, err)
	}
	answer := make([]byte, 256)
	n, err := conn.Read(answer)
	if err != nil || !strings.HasPrefix(string(answer[:n]), "errno=0\n") {
		return fmt.Errorf("cannot configure %s: %q, %w", device, answer[:n], err)
	}
	return nil
}
