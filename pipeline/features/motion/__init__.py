"""Motion from annotations: SMPL and OpenPose."""
