package main

import (
	"testing"
	"time"
)

// A timer that wakes late costs nothing in the long run: the line carries what it is said to carry.
func TestLineIsAsFastAsItSays(t *testing.T) {
	const rate = 40 << 20
	_, address := testLine(t, lineSettings{BytesPerSecondMax: rate})
	conn := dial(t, address)
	took := echo(t, conn, rate/2)
	if took < 450*time.Millisecond {
		t.Fatalf("half a second of a line of %d bytes/s took only %v", rate, took)
	}
}
