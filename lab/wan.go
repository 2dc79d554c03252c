// The line between the sites: TCP proxies that share one bandwidth per direction, delay what passes,
// and can be cut, restored and reset while running. It must not look into what it carries.
package main

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	chunkBytesMax     = 64 << 10
	chunkBytesMin     = 2 << 10
	chunkTime         = 2 * time.Millisecond
	socketBufferBytes = 512 << 10
	queuedChunksMax   = 128
	dialTimeout       = 5 * time.Second
	// A timer wakes late by up to a few milliseconds; what it cost is made up for, what an idle line did not carry is not.
	lateMax = 5 * time.Millisecond
)

// lineSettings is what can be changed while the line is in use; 0 means unlimited and no delay.
type lineSettings struct {
	BytesPerSecondMax int64   `json:"bytesPerSecondMax"`
	RttMs             float64 `json:"rttMs"`
}

// direction is one way of the line: its counter and the moment at which it is free again.
type direction struct {
	bytes  atomic.Int64
	mu     sync.Mutex
	freeAt time.Time
}

// line is the WAN: every connection between the sites shares it.
type line struct {
	mu          sync.Mutex
	settings    lineSettings
	cutUntil    time.Time
	isCut       bool
	changed     chan struct{}
	connections map[*crossing]struct{}

	toDestination direction
	toSource      direction
}

// crossing is one proxied connection.
type crossing struct {
	near, far *net.TCPConn
}

func newLine(settings lineSettings) *line {
	return &line{settings: settings, changed: make(chan struct{}), connections: map[*crossing]struct{}{}}
}

// set changes bandwidth and delay; what is on its way keeps its old delay.
func (l *line) set(settings lineSettings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settings = settings
	l.notify()
}

// cut stops everything; nothing is lost or refused, it only does not arrive. Zero means until restore.
func (l *line) cut(duration time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut, l.cutUntil = true, time.Time{}
	if duration > 0 {
		until := time.Now().Add(duration)
		l.cutUntil = until
		time.AfterFunc(duration, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.isCut && l.cutUntil.Equal(until) {
				l.isCut = false
				l.notify()
			}
		})
	}
	l.notify()
}

func (l *line) restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = false
	l.notify()
}

// reset ends every connection with a TCP reset at both ends and says how many.
func (l *line) reset() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.connections {
		c.reset()
	}
	return len(l.connections)
}

func (c *crossing) reset() {
	for _, end := range []*net.TCPConn{c.near, c.far} {
		if end != nil {
			_ = end.SetLinger(0)
			_ = end.Close()
		}
	}
}

// notify wakes who waits for a change; the lock is held.
func (l *line) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *line) state() (settings lineSettings, isCut bool, changed <-chan struct{}, connections int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settings, l.isCut, l.changed, len(l.connections)
}

// whileCut blocks as long as the line is cut.
func (l *line) whileCut() {
	for {
		_, isCut, changed, _ := l.state()
		if !isCut {
			return
		}
		<-changed
	}
}

// serve accepts connections for one target until the listener closes. outward tells whether the
// client stands at the source, so that counters name the right way.
func (l *line) serve(listener *net.TCPListener, target string, outward bool) {
	for {
		near, err := listener.AcceptTCP()
		if err != nil {
			return
		}
		go l.cross(near, target, outward)
	}
}

func (l *line) cross(near *net.TCPConn, target string, outward bool) {
	c := &crossing{near: near}
	l.mu.Lock()
	l.connections[c] = struct{}{}
	rtt := milliseconds(l.settings.RttMs)
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.connections, c)
		l.mu.Unlock()
	}()
	l.whileCut()
	time.Sleep(rtt)
	connection, err := net.DialTimeout("tcp", target, dialTimeout)
	if err != nil {
		c.reset()
		return
	}
	far := connection.(*net.TCPConn)
	l.mu.Lock()
	c.far = far
	l.mu.Unlock()
	for _, end := range []*net.TCPConn{near, far} {
		_ = end.SetReadBuffer(socketBufferBytes)
		_ = end.SetWriteBuffer(socketBufferBytes)
		_ = end.SetNoDelay(true)
	}
	forth, back := &l.toDestination, &l.toSource
	if !outward {
		forth, back = back, forth
	}
	var both sync.WaitGroup
	both.Add(2)
	go func() { defer both.Done(); l.pump(c, near, far, forth) }()
	go func() { defer both.Done(); l.pump(c, far, near, back) }()
	both.Wait()
	_ = near.Close()
	_ = far.Close()
}

// parcel is a piece of data on its way and the moment at which it arrives.
type parcel struct {
	data    []byte
	arrives time.Time
}

// pump carries one direction of one connection: the reader waits for its turn on the shared line,
// the writer waits for the delay.
func (l *line) pump(c *crossing, from, to *net.TCPConn, way *direction) {
	queue := make(chan parcel, queuedChunksMax)
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		for p := range queue {
			time.Sleep(time.Until(p.arrives))
			l.whileCut()
			if _, err := to.Write(p.data); err != nil {
				_ = from.Close()
				for range queue {
					continue
				}
				return
			}
		}
	}()
	broken := false
	for {
		l.whileCut()
		settings, _, _, _ := l.state()
		buffer := make([]byte, chunkFor(settings.BytesPerSecondMax))
		n, err := from.Read(buffer)
		if n > 0 {
			way.takeTurn(n, settings.BytesPerSecondMax)
			way.bytes.Add(int64(n))
			queue <- parcel{data: buffer[:n], arrives: time.Now().Add(milliseconds(settings.RttMs) / 2)}
		}
		if err != nil {
			broken = !isEnd(err)
			break
		}
	}
	close(queue)
	<-delivered
	if broken {
		c.reset()
		return
	}
	_ = to.CloseWrite()
}

// takeTurn waits until the line has carried n more bytes at the given rate.
func (d *direction) takeTurn(n int, bytesPerSecondMax int64) {
	if bytesPerSecondMax <= 0 {
		return
	}
	cost := time.Duration(float64(n) / float64(bytesPerSecondMax) * float64(time.Second))
	d.mu.Lock()
	if earliest := time.Now().Add(-lateMax); d.freeAt.Before(earliest) {
		d.freeAt = earliest
	}
	d.freeAt = d.freeAt.Add(cost)
	free := d.freeAt
	d.mu.Unlock()
	time.Sleep(time.Until(free))
}

// chunkFor keeps turns short on a slow line, so that small messages do not wait behind large ones.
func chunkFor(bytesPerSecondMax int64) int {
	if bytesPerSecondMax <= 0 {
		return chunkBytesMax
	}
	n := int(float64(bytesPerSecondMax) * chunkTime.Seconds())
	return min(max(n, chunkBytesMin), chunkBytesMax)
}

func milliseconds(ms float64) time.Duration {
	return time.Duration(ms * float64(time.Millisecond))
}
