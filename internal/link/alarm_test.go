package link

import (
	"testing"
	"time"
)

func TestAlarms(t *testing.T) {
	kernel, err := newKernelAlarm()
	if err != nil {
		t.Fatal(err)
	}
	simulated := &Endpoint{cfg: Config{Net: &simDoor{}}}
	for _, c := range []struct {
		what string
		alarm
	}{{"the kernel's", kernel}, {"of Go", simulated.newAlarm()}} {
		t.Run(c.what, func(t *testing.T) {
			if !c.Wait() {
				t.Fatal("a new one does not go off")
			}
			begin := time.Now()
			c.Set(begin.Add(time.Hour))
			c.Set(begin.Add(20 * time.Millisecond))
			if !c.Wait() || time.Since(begin) < 20*time.Millisecond {
				t.Errorf("it went off after %v", time.Since(begin))
			}
			c.Set(begin) // which is past
			if !c.Wait() {
				t.Error("what is past does not go off")
			}
			rung := make(chan bool)
			c.Set(begin.Add(time.Hour))
			go func() { rung <- c.Wait() }()
			c.Set(time.Now()) // by another goroutine
			if !<-rung {
				t.Error("another goroutine cannot set it")
			}
			c.Set(begin.Add(time.Hour))
			go func() { rung <- c.Wait() }()
			c.Close()
			c.Set(begin) // of a closed one is harmless
			if <-rung {
				t.Error("closed, it went off")
			}
		})
	}
	if _, ok := (&Endpoint{cfg: Config{Net: Kernel{}}}).newAlarm().(*kernelAlarm); !ok {
		t.Error("with the kernel's network the alarm is not the kernel's")
	}
}

func TestTickers(t *testing.T) {
	for _, c := range []struct {
		what  string
		on    Net
		plain bool
	}{{"the kernel's", Kernel{}, false}, {"of Go", &simDoor{}, true}} {
		t.Run(c.what, func(t *testing.T) {
			begin := time.Now()
			ticker := NewTicker(c.on, time.Hour)
			if (ticker.plain != nil) != c.plain {
				t.Fatalf("it is %+v", ticker)
			}
			ticker.Reset(10 * time.Millisecond)
			for range 3 {
				<-ticker.C
			}
			if took := time.Since(begin); took < 30*time.Millisecond {
				t.Errorf("three intervals of 10 ms took %v", took)
			}
			ticker.Stop()
		})
	}
}
