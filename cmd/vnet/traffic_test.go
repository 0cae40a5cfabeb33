package main

import (
	"slices"
	"testing"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

// Large frames that are cut finer arrive as more frames than were sent, also when some are lost.
func TestLossIsNotHiddenByFinerCuts(t *testing.T) {
	entries := []*api.TrafficEntry{
		{Src: "none", OfferedBytes: 9000, OfferedFrames: 6, DeliveredBytes: 9000, DeliveredFrames: 6},
		{Src: "few", OfferedBytes: 9000, OfferedFrames: 60, DeliveredBytes: 8850, DeliveredFrames: 59},
		{Src: "cut and lost", OfferedBytes: 1_500_000, OfferedFrames: 1000, DeliveredBytes: 1_440_000, DeliveredFrames: 1030},
		{Src: "cut", OfferedBytes: 1_500_000, OfferedFrames: 1000, DeliveredBytes: 1_505_000, DeliveredFrames: 1075},
	}
	slices.SortStableFunc(entries, trafficOrders()["lost"])
	var order []string
	for _, e := range entries {
		order = append(order, e.GetSrc())
	}
	if want := []string{"cut and lost", "few", "none", "cut"}; !slices.Equal(order, want) {
		t.Errorf("%q, want %q", order, want)
	}
}
