package msgr_test

import (
	"testing"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/msgr/msgrtest"
)

func TestLocal(t *testing.T) {
	msgrtest.Run(t, func(t *testing.T) msgr.Network { return msgr.NewLocal() })
}
