package main

import (
	"io"
	"net"
	"testing"
	"time"
)

// testLine is a line with an echo server behind it.
func testLine(t *testing.T, settings lineSettings) (*line, string) {
	t.Helper()
	listen := func() *net.TCPListener {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		return listener.(*net.TCPListener)
	}
	far, near, l := listen(), listen(), newLine(settings)
	go func() {
		for {
			conn, err := far.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
	go l.serve(near, far.Addr().String(), true)
	return l, near.Addr().String()
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn.(*net.TCPConn)
}

func echo(t *testing.T, conn net.Conn, n int) time.Duration {
	t.Helper()
	start := time.Now()
	go func() { _, _ = conn.Write(make([]byte, n)) }()
	if _, err := io.ReadFull(conn, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

func TestLineDelays(t *testing.T) {
	_, address := testLine(t, lineSettings{RttMs: 60})
	conn := dial(t, address)
	echo(t, conn, 1)
	if took := echo(t, conn, 1); took < 60*time.Millisecond || took > time.Second {
		t.Fatalf("a round trip of 60 ms took %v", took)
	}
}

func TestLineLimitsAndCounts(t *testing.T) {
	l, address := testLine(t, lineSettings{BytesPerSecondMax: 4 << 20})
	conn := dial(t, address)
	took := echo(t, conn, 4<<20)
	if took < 900*time.Millisecond || took > 4*time.Second {
		t.Fatalf("4 MiB at 4 MiB/s took %v", took)
	}
	if out, back := l.toDestination.bytes.Load(), l.toSource.bytes.Load(); out != 4<<20 || back != 4<<20 {
		t.Fatalf("counted %d and %d", out, back)
	}
	l.set(lineSettings{})
	if free := echo(t, conn, 4<<20); free >= took {
		t.Fatalf("4 MiB took %v with a limit and %v without", took, free)
	}
}

func TestLineStandsStillWhileCut(t *testing.T) {
	l, address := testLine(t, lineSettings{})
	conn := dial(t, address)
	echo(t, conn, 1)
	l.cut(300 * time.Millisecond)
	if took := echo(t, conn, 1<<20); took < 280*time.Millisecond {
		t.Fatalf("data passed a cut line after %v", took)
	}
	l.cut(0)
	restored := time.AfterFunc(200*time.Millisecond, l.restore)
	defer restored.Stop()
	if took := echo(t, conn, 1); took < 180*time.Millisecond {
		t.Fatalf("data passed a cut line after %v", took)
	}
}

func TestLineResets(t *testing.T) {
	l, address := testLine(t, lineSettings{})
	conn := dial(t, address)
	echo(t, conn, 1)
	if n := l.reset(); n != 1 {
		t.Fatalf("reset %d connections", n)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Fatalf("got %v, not a reset", err)
	}
}
