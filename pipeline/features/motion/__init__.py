"""Motion that is read from annotations: SMPL and OpenPose."""
