package peers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/stage"
)

// startTime is how long a daemon may take until its guests reach each other.
const startTime = 15 * time.Second

// startTinc is tinc in switch mode with its default ciphers.
func startTinc(ctx context.Context, s *stage.Stage, _ Programs, nr int) (*Running, error) {
	a, b := guests(nr)
	r := &Running{Between: between(s, a, b)}
	dirs := map[string]string{}
	for _, host := range []string{HostA, HostB} {
		dir, err := s.Dir("tinc-" + host + "/hosts")
		if err != nil {
			return nil, err
		}
		dirs[host] = filepath.Dir(dir)
	}
	for host, at := range map[string]string{HostA: underlayA, HostB: underlayB} {
		other := map[string]string{HostA: HostB, HostB: HostA}[host]
		conf := fmt.Sprintf("Name = %s\nMode = switch\nDeviceType = tap\nInterface = tinc0\nAddressFamily = ipv4\nConnectTo = %s\n", host, other)
		if err := os.WriteFile(filepath.Join(dirs[host], "tinc.conf"), []byte(conf), 0o600); err != nil {
			return nil, err
		}
		if _, err := s.Run(ctx, host, "sh", "-c", "tincd -c "+dirs[host]+" -K2048 </dev/null"); err != nil {
			return nil, err
		}
		own := filepath.Join(dirs[host], "hosts", host)
		key, err := os.ReadFile(own)
		if err != nil {
			return nil, err
		}
		public := append([]byte("Address = "+at+"\n"), key...)
		for _, d := range dirs {
			if err := os.WriteFile(filepath.Join(d, "hosts", host), public, 0o600); err != nil {
				return nil, err
			}
		}
	}
	for _, host := range []string{HostA, HostB} {
		d, err := s.Start(host, "tincd", nil, "tincd", "-c", dirs[host], "-D", "--pidfile="+dirs[host]+"/pid")
		if err != nil {
			return nil, err
		}
		r.Daemons = append(r.Daemons, d)
	}
	version, err := s.Run(ctx, "", "tincd", "--version")
	if err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(version, "\n")
	r.What = first + ", switch mode, default ciphers"
	return r, r.address(ctx, "tinc0", "tinc0", a, b)
}
