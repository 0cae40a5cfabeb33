package main

import "github.com/virtuoso-vnet/virtuoso/bench/datapath/report"

// aims are what the data path was built to reach, as far as the rounds can tell; docs/performance.md says what the others are.
func aims() []report.Aim {
	of := map[string]report.Figure{}
	for _, f := range figures() {
		of[f.Key] = f
	}
	return []report.Aim{
		{What: "udp, one TCP stream ÷ kernel VXLAN + bridge", System: "ours-udp", Figure: of["tcp1"], To: "vxlan", Bound: 0.55},
		{What: "udp, one TCP stream ÷ best user-space peer", System: "ours-udp", Figure: of["tcp1"], To: report.BestPeer, Bound: 2.2},
		{What: "udp, four TCP streams ÷ one", System: "ours-udp", Figure: of["tcp4"], To: "ours-udp", ToFigure: "tcp1", Bound: 1},
		{What: "trusted, one TCP stream ÷ kernel VXLAN + bridge", System: "ours-trusted", Figure: of["tcp1"], To: "vxlan", Bound: 0.75},
		{What: "tcp carrier, one TCP stream ÷ kernel VXLAN + bridge", System: "ours-tcp", Figure: of["tcp1"], To: "vxlan", Bound: 0.40},
		{What: "64 B without loss, one packet a call ÷ veth", System: "ours-udp", Figure: of["udp64"], To: "veth", Bound: 0.6},
		{What: "64 B without loss, UDP_SEGMENT ÷ veth with one packet a call", System: "ours-udp", Figure: of["segment64"], To: "veth", ToFigure: "udp64", Bound: 0.8},
		{What: "64 B without loss, UDP_SEGMENT ÷ veth with UDP_SEGMENT", System: "ours-udp", Figure: of["segment64"], To: "veth", Bound: 0.8},
		{What: "request p50 ÷ best user-space peer", System: "ours-udp", Figure: of["rr50"], To: report.BestPeer, Bound: 1, DownToThis: true},
		{What: "request p99 ÷ best user-space peer", System: "ours-udp", Figure: of["rr99"], To: report.BestPeer, Bound: 1, DownToThis: true},
		{What: "request p50 ÷ veth", System: "ours-udp", Figure: of["rr50"], To: "veth", Bound: 1.4, DownToThis: true},
		{What: "ping p50 under one TCP stream ÷ best user-space peer", System: "ours-udp", Figure: of["ping50"], To: report.BestPeer, Bound: 1, DownToThis: true},
		{What: "ping p99 under one TCP stream ÷ best user-space peer", System: "ours-udp", Figure: of["ping99"], To: report.BestPeer, Bound: 1, DownToThis: true},
		{What: "CPU, s/GB", System: "ours-udp", Figure: of["cpu"], Bound: 1.9, DownToThis: true},
		{What: "idle daemon, % of a core", System: "ours-udp", Figure: of["idle"], Bound: 0.3, DownToThis: true},
		{What: "idle daemon, MB resident", System: "ours-udp", Figure: of["rss"], Bound: 40, DownToThis: true},
		{What: "two hops, one TCP stream ÷ one hop", System: "ours-two-hops", Figure: of["tcp1"], To: "ours-udp", Bound: 0.6},
	}
}
