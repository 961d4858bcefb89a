from fastcnn.training.schedules import *
