package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

// metricsPath is where a monitor finds the totals: on the socket, and at Config.Metrics.
const metricsPath = "/metrics"

// exposition is text in the format of Prometheus (version 0.0.4). It holds totals only: no label has more values than a node
// has reasons to drop a frame, and none names a MAC or a pair of them.
type exposition struct{ strings.Builder }

func (e *exposition) family(name, kind, help string) {
	fmt.Fprintf(e, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (e *exposition) one(name, kind, help string, value float64) {
	e.family(name, kind, help)
	fmt.Fprintf(e, "%s %v\n", name, value)
}

// labelled writes a value with one label.
func (e *exposition) labelled(name, label, text string, value float64) {
	fmt.Fprintf(e, "%s{%s=\"%s\"} %v\n", name, label, strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text), value)
}

// serveMetrics answers a monitor.
func serveMetrics(d Daemon) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		text, err := metrics(r.Context(), d)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write([]byte(text)) // a monitor that left does not want it
	}
}

func metrics(ctx context.Context, d Daemon) (string, error) {
	status, err := d.GetStatus(ctx, &api.GetStatusRequest{})
	if err != nil {
		return "", err
	}
	counters, err := d.GetCounters(ctx, &api.GetCountersRequest{})
	if err != nil {
		return "", err
	}
	var e exposition
	s := status.GetStatus()
	e.family("vnet_info", "gauge", "Always 1; the version is a label.")
	e.labelled("vnet_info", "version", s.GetVersion(), 1)
	e.one("vnet_start_time_seconds", "gauge", "When the daemon started, since 1970.", float64(s.GetStarted().GetSeconds()))
	e.one("vnet_ports", "gauge", "Ports of the node.", float64(s.GetPorts()))
	e.one("vnet_links", "gauge", "Links of the node.", float64(s.GetLinks()))
	e.one("vnet_links_up", "gauge", "Links of the node that are up.", float64(s.GetLinksUp()))
	e.one("vnet_rules", "gauge", "Forwarding rules at the node.", float64(s.GetRules()))
	if end := s.GetCertificateEnds(); end != nil {
		e.one("vnet_certificate_end_time_seconds", "gauge", "When the node's certificate ends, since 1970; it renews itself at two thirds of its life.", float64(end.GetSeconds()))
	}
	e.one("vnet_trust_list", "gauge", "Number of the newest list of revoked keys that the node has stored.", float64(s.GetTrust()))
	e.one("vnet_warnings", "gauge", "What a person should look at; see vnet status.", float64(len(s.GetWarnings())))
	e.family("vnet_turned_away_total", "counter", "Handshakes, set-ups and links that were refused because somebody wanted too many, by reason.")
	for _, d := range s.GetTurnedAway() {
		e.labelled("vnet_turned_away_total", "reason", d.GetReason(), float64(d.GetFrames()))
	}
	e.counters(counters.GetTotal())
	if s.GetRole() == api.Role_ROLE_PROXY {
		err = e.inference(ctx, d, s)
	}
	return e.String(), err
}

func (e *exposition) counters(c *api.Counters) {
	for _, m := range []struct {
		name, help string
		value      uint64
	}{
		{"vnet_edge_in_frames_total", "Frames received from local ports.", c.GetEdgeIn()},
		{"vnet_edge_out_frames_total", "Frames handed to local ports.", c.GetEdgeOut()},
		{"vnet_copied_frames_total", "Further copies made by the flood tree.", c.GetCopies()},
		{"vnet_link_sent_frames_total", "Frames sent over links.", c.GetLinkFramesSent()},
		{"vnet_link_received_frames_total", "Frames received over links.", c.GetLinkFramesReceived()},
		{"vnet_wire_lost_frames_total", "Frames sent over links that did not arrive.", c.GetWireLost()},
		{"vnet_duplicate_datagrams_total", "Copies of datagrams that the replay window refused.", c.GetDuplicates()},
		{"vnet_hop_limit_hits_total", "Frames that crossed too many links: a bug.", c.GetHopLimitHits()},
		{"vnet_cut_frames_total", "Frames made by cutting super-frames finer.", c.GetCuts()},
		{"vnet_forged_datagrams_total", "Datagrams for a link that nobody with its keys sealed: forged, or damaged on the way.", c.GetForged()},
		{"vnet_stray_datagrams_total", "Datagrams for no link: of one that ended, or a stranger's.", c.GetStrays()},
	} {
		e.one(m.name, "counter", m.help, float64(m.value))
	}
	e.family("vnet_dropped_frames_total", "counter", "Frames not forwarded, by reason.")
	for _, d := range c.GetDrops() {
		e.labelled("vnet_dropped_frames_total", "reason", d.GetReason(), float64(d.GetFrames()))
	}
}

// inference adds what only the Proxy knows.
func (e *exposition) inference(ctx context.Context, d Daemon, s *api.Status) error {
	app, err := d.GetApp(ctx, &api.GetAppRequest{})
	if err != nil {
		return err
	}
	traffic, err := d.GetTraffic(ctx, &api.GetTrafficRequest{})
	if err != nil {
		return err
	}
	bound, err := d.GetBound(ctx, &api.GetBoundRequest{})
	if err != nil {
		return err
	}
	vms, edges, offered, delivered := 0, 0, 0.0, 0.0
	for _, g := range app.GetApp().GetGroups() {
		vms, edges = vms+len(g.GetVms()), edges+len(g.GetEdges())
	}
	for _, t := range traffic.GetEntries() {
		offered, delivered = offered+t.GetOfferedBps(), delivered+t.GetDeliveredBps()
	}
	e.one("vnet_nodes", "gauge", "Nodes of the overlay.", float64(s.GetNodes()))
	e.one("vnet_bound_seconds", "gauge", "Bound on the time a change of the overlay takes.", bound.GetBound().GetValue().AsDuration().Seconds())
	e.one("vnet_topology_changes_total", "counter", "Application topologies published.", float64(app.GetApp().GetVersion()))
	e.one("vnet_application_groups", "gauge", "Groups of VMs that talk together.", float64(len(app.GetApp().GetGroups())))
	e.one("vnet_application_vms", "gauge", "VMs in these groups.", float64(vms))
	e.one("vnet_application_edges", "gauge", "Pairs of them that exchange traffic.", float64(edges))
	e.one("vnet_traffic_pairs", "gauge", "Pairs of addresses in the traffic matrix.", float64(len(traffic.GetEntries())))
	e.one("vnet_traffic_offered_bits_per_second", "gauge", "What VMs send, all together.", offered)
	e.one("vnet_traffic_delivered_bits_per_second", "gauge", "What reaches VMs, all together.", delivered)
	e.one("vnet_traffic_other_frames_total", "counter", "Frames of pairs that found no room in the matrix.",
		float64(traffic.GetOther().GetOfferedFrames()+traffic.GetOther().GetDeliveredFrames()))
	return nil
}

// serveMonitor serves the totals, and nothing else, on a port of this machine until ctx is done.
func (s *Server) serveMonitor(ctx context.Context) error {
	if !s.cfg.Metrics.Addr().IsLoopback() {
		return fmt.Errorf("cannot serve totals at %s: anybody could read them there; give a loopback address, such as 127.0.0.1:9100", s.cfg.Metrics)
	}
	at, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Metrics.String())
	if err != nil {
		return fmt.Errorf("cannot serve totals: %w; give another --metrics", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc(metricsPath, serveMetrics(s.daemon))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(at) }()
	<-ctx.Done()
	srv.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
