from fastcnn.training.diagnosis import *
