package control

import (
	"testing"
	"time"
)

func TestBound(t *testing.T) {
	took := func(ms int) Result { return Result{OK: true, Commit: time.Duration(ms) * time.Millisecond} }
	var b Bound
	if v := b.Value(); v.Value != boundDefault || v.Origin != BoundDefault {
		t.Errorf("before any change %+v", v)
	}
	b.Add(Result{Commit: time.Hour}) // failed
	b.Add(took(10))
	if v := b.Value(); v.Value != 20*ms || v.Origin != BoundMeasured || v.Samples != 1 || v.Failed != 1 {
		t.Errorf("after one change %+v", v)
	}
	for i := range 200 {
		b.Add(took(i + 1)) // the last 50 are 151..200; the 95th percentile is the 48th of them
	}
	if v := b.Value(); v.Value != 2*198*ms || v.P95 != 198*ms || v.Samples != 50 {
		t.Errorf("after 200 changes %+v", v)
	}
	if err := b.Set(time.Minute); err != nil {
		t.Fatal(err)
	}
	if v := b.Value(); v.Value != time.Minute || v.Origin != BoundUser || v.P95 != 198*ms {
		t.Errorf("set by the user %+v", v)
	}
	if b.Set(-1) == nil {
		t.Error("a negative bound is accepted")
	}
	if err := b.Set(0); err != nil {
		t.Fatal(err)
	}
	var again Bound
	again.Restore(b.Samples(), 0)
	if v, w := again.Value(), b.Value(); v.Value != w.Value || v.Origin != BoundMeasured {
		t.Errorf("restored %+v, want %+v", v, w)
	}
}
